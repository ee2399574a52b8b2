/** `npm run torture`: sets up what is missing, then runs random histories against the real disks and the real service. */
import { join } from 'node:path';
import { root } from './node.mjs';
import { prepareOrExit } from './prepare.mjs';
import { run } from './run.mjs';

const node = prepareOrExit(['service', 'test']);
process.exitCode = await run(node, [join(root, 'test/torture/run.ts'), ...process.argv.slice(2)]);
