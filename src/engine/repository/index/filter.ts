/**
 * A blocked Bloom filter: says for certain that an id is not in a segment, with one cache line touched. Ids are uniformly random under
 * their key, so their own bits serve as hash values. At 12 bits an id about one lookup in 100 is told "perhaps" wrongly, and costs a read.
 */
const BITS_PER_ID = 12;
/** 512 bits: a cache line. */
const BLOCK_WORDS = 16;
const PROBES = 7;

export function filterWordsFor(idCount: number): number {
  return Math.max(1, Math.ceil((idCount * BITS_PER_ID) / (BLOCK_WORDS * 32))) * BLOCK_WORDS;
}

export function addToFilter(words: Uint32Array, id: Buffer, at: number): void {
  const block = blockOf(words, id, at);
  for (let probe = 0; probe < PROBES; probe += 1) {
    const bit = bitOf(id, at, probe);
    const word = block + (bit >> 5);
    words[word] = (words[word] as number) | (1 << (bit & 31));
  }
}

export function mayContain(words: Uint32Array, id: Buffer, at: number): boolean {
  const block = blockOf(words, id, at);
  for (let probe = 0; probe < PROBES; probe += 1) {
    const bit = bitOf(id, at, probe);
    if ((((words[block + (bit >> 5)] as number) >>> (bit & 31)) & 1) === 0) return false;
  }
  return true;
}

/** Bytes 2 to 5 choose the block: the first ones order the records, and the probes come from the last ten. */
function blockOf(words: Uint32Array, id: Buffer, at: number): number {
  return (id.readUInt32LE(at + 2) % (words.length / BLOCK_WORDS)) * BLOCK_WORDS;
}

/** Nine bits that begin at every eleventh bit of the last ten bytes. */
function bitOf(id: Buffer, at: number, probe: number): number {
  const first = probe * 11;
  const byte = at + 6 + (first >> 3);
  return ((((id[byte] as number) << 8) | (id[byte + 1] as number)) >> (7 - (first & 7))) & 511;
}
