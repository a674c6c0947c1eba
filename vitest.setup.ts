// Tests run in the folder of their package (golden files and examples are found from there), wherever vitest was started.
process.chdir(process.env.ATELIER_TEST_FOLDER!);
