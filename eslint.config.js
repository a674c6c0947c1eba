import tseslint from 'typescript-eslint';
import { plugin } from './scripts/eslint-rules.mjs';

const RANDOM = 'Randomness comes from Rng (@atelier/tensor), which is seeded, split by name and saved.';
const TIMING = 'Tests do not time anything: speed lives in bench/, as ratios against a peer.';

const random = [
  { selector: "MemberExpression[object.name='Math'][property.name='random']", message: RANDOM },
  {
    selector:
      "MemberExpression[property.name=/^(random(Normal|Uniform|UniformInt|Gamma|StandardNormal)?|truncatedNormal|multinomial)$/][object.name='tf']",
    message: RANDOM,
  },
  { selector: "MemberExpression[object.name='tf'][property.name='rand']", message: RANDOM },
];
const timing = [
  { selector: "MemberExpression[object.name='performance'][property.name='now']", message: TIMING },
  { selector: "MemberExpression[object.name='Date'][property.name='now']", message: TIMING },
  { selector: "MemberExpression[object.name='process'][property.name='hrtime']", message: TIMING },
  { selector: "MemberExpression[object.name='console'][property.name=/^time/]", message: TIMING },
];

export default tseslint.config(
  { ignores: ['**/dist/', '**/node_modules/', '**/.turbo/', 'runs/', 'docs/', 'scripts/new-paper/', 'check-dist/programs/'] },
  {
    files: ['**/*.ts', '**/*.mjs', '**/*.js'],
    plugins: { atelier: plugin },
    rules: {
      'atelier/layers': 'error',
      'atelier/file-names': 'error',
      'no-restricted-syntax': ['error', ...random],
      'max-lines': ['error', 330],
      eqeqeq: 'error',
      'no-console': 'off',
    },
  },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommended],
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ['vitest.*.ts'] }, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off',
      // TypeScript itself reports unused names.
      '@typescript-eslint/no-unused-vars': 'off',
    },
  },
  { files: ['**/test/**'], rules: { 'no-restricted-syntax': ['error', ...random, ...timing] } },
);
