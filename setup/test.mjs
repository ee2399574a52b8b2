/**
 * `npm test` and its relatives: sets up what is missing, then checks everything in order of cost and stops at the first that fails.
 *
 *   --no-setup       nothing is installed (`npm run check`)
 *   --only PROJECT   only the tests of one project of vitest.config.ts (`kill`, `acceptance`, …)
 *
 * What follows is passed on to vitest. The last lines are each test that failed with the start of its reason, and `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { findNode, root } from './node.mjs';
import { prepareOrExit } from './prepare.mjs';

const { values, positionals } = parseArgs({
  options: { 'no-setup': { type: 'boolean' }, only: { type: 'string' } },
  allowPositionals: true,
  strict: true,
});
const node = values['no-setup'] ? findNode() : prepareOrExit(['service', 'test']);
if (node === undefined) {
  process.stderr.write("The packages are not installed: run 'npm test' once.\n");
  process.exit(1);
}

const bin = (name) => join(root, 'node_modules/.bin', name);
const checks = [
  ['types', bin('tsc'), ['-p', root]],
  ['lint', bin('biome'), ['check', '--error-on-warnings', root]],
  ['boundaries', node, [join(root, 'setup/boundaries.mjs')]],
  ['dead code', bin('knip'), ['--no-progress', '--no-config-hints']],
];
const projects = values.only === undefined ? ['unit', 'integration'] : [values.only];

const results = [];
let ok = true;
if (values.only === undefined) for (const [name, program, args] of checks) ok &&= stage(name, program, args);
const counts = ok ? runTests() : { passed: 0, failed: 0, skipped: 0, failures: [] };

process.stdout.write(
  `\n${results.map(({ name, passed, seconds }) => `${passed ? 'ok    ' : 'FAILED'}  ${name}  ${seconds} s`).join('\n')}\n`,
);
for (const failure of counts.failures) process.stdout.write(`${failure}\n`);
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
// A stage that fails counts, so that the last line never looks like success.
process.stdout.write(`${counts.passed} passed, ${Math.max(counts.failed, ok ? 0 : 1)} failed${skipped}\n`);
process.exitCode = ok ? 0 : 1;

function stage(name, program, args) {
  process.stdout.write(`== ${name}\n`);
  const startedAt = performance.now();
  // The pinned Node comes first, for the tools that are themselves scripts.
  const environment = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  const { status } = spawnSync(program, args, { cwd: root, env: environment, stdio: ['ignore', 'inherit', 'inherit'] });
  results.push({ name, passed: status === 0, seconds: ((performance.now() - startedAt) / 1000).toFixed(1) });
  return status === 0;
}

function runTests() {
  const folder = mkdtempSync(join(tmpdir(), 'stillpoint-results-'));
  const report = join(folder, 'results.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const args = ['run', ...projects.flatMap((project) => ['--project', project]), ...reporters, ...positionals];
    ok &&= stage('tests', bin('vitest'), args);
    if (!existsSync(report)) return { passed: 0, failed: 0, skipped: 0, failures: [] };
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
    const counted = { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests };
    return { ...counted, failures: testResults.flatMap(failuresOf) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A line for each test of a file that failed, and for a file that could not be run to its end. */
function failuresOf({ name, status, message, assertionResults }) {
  const file = relative(root, name);
  const failed = assertionResults.filter((test) => test.status === 'failed');
  const lines = failed.map(({ fullName, failureMessages }) => `FAILED  ${file}: ${fullName}: ${firstLines(failureMessages[0])}`);
  if (status === 'failed' && lines.length === 0) lines.push(`FAILED  ${file}: ${firstLines(message)}`);
  return lines;
}

function firstLines(text = '') {
  return text.split('\n').slice(0, 3).join(' ').slice(0, 300);
}
