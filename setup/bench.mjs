/** `npm run bench`: sets up the service and the tools that it is measured against, then measures. */
import { join } from 'node:path';
import { root } from './node.mjs';
import { prepareOrExit } from './prepare.mjs';
import { run } from './run.mjs';

const node = prepareOrExit(['service', 'test', 'bench']);
process.exitCode = await run(node, [join(root, 'bench/run.ts'), ...process.argv.slice(2)]);
