/** `npm start`: sets up what is missing, then runs the service until it is told to stop. */
import { join } from 'node:path';
import { root } from './node.mjs';
import { prepareOrExit } from './prepare.mjs';
import { run } from './run.mjs';

const node = prepareOrExit(['service']);
process.exitCode = await run(node, [join(root, 'src/main/cli.ts'), 'serve', ...process.argv.slice(2)], { whenOrphaned: true });
