import { describeObjectStore } from '../contract-suite.ts';
import { openMemoryStore } from './memory-store.ts';

describeObjectStore('a store in memory', async () => openMemoryStore());
