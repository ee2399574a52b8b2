/** `npm run conformance`: sets up what is missing, then lets OpenStack's own Tempest test the real service. */
import { join } from 'node:path';
import { findNode, root } from './node.mjs';
import { prepareOrExit } from './prepare.mjs';
import { run } from './run.mjs';

const args = process.argv.slice(2).filter((arg) => arg !== '--no-setup');
const node = process.argv.includes('--no-setup') ? findNode() : prepareOrExit(['service', 'test', 'conformance']);
process.exitCode = node === undefined ? 1 : await run(node, [join(root, 'test/conformance/run.ts'), ...args]);
