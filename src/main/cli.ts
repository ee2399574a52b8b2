/**
 * The entry of `stillpoint`. It only turns on the cache of compiled modules before the first of them is loaded, which halves the time to
 * start. The cache goes away with the packages; not being able to write it does no harm.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

const cache = join(import.meta.dirname, '../../node_modules/.cache/stillpoint');
enableCompileCache(cache);
// For the processes of our own that this one starts.
process.env.NODE_COMPILE_CACHE ??= cache;
const { runHere } = await import('./command-line.ts');
await runHere();
