import fc from 'fast-check';

// Tests run in the folder of their package (golden files and examples are found from there), wherever vitest was started.
process.chdir(process.env.ATELIER_TEST_FOLDER!);

// Random tests draw the same cases in every run, so that a run can be repeated. ATELIER_TEST_SEED=7 draws others.
fc.configureGlobal({ seed: Number(process.env.ATELIER_TEST_SEED ?? 20_250_520) });
