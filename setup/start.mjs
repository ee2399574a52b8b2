/** `npm start`: sets up what is missing, then runs the service until it is told to stop. */
import { join } from 'node:path';
import { root, serviceEnvironment, serviceOptions } from './node.mjs';
import { prepareOrExit } from './prepare.mjs';
import { run } from './run.mjs';

const node = prepareOrExit(['service']);
process.exitCode = await run(node, [...serviceOptions, join(root, 'src/main/cli.ts'), 'serve', ...process.argv.slice(2)], {
  environment: { ...serviceEnvironment, ...process.env },
  whenOrphaned: true,
});
