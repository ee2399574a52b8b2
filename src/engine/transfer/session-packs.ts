import { FAN_OUT, packNameOf } from '../repository/format.ts';
import type { FrameAddress, PackKind } from '../repository/pack-format.ts';
import { type FinishedPack, PackWriter } from '../repository/pack-writer.ts';
import type { DomainTools } from './domain-access.ts';

/** Packs that are being made durable while the next one is filled. */
const PACKS_IN_FLIGHT_MAX = 2;

export interface SessionPacksOptions {
  readonly tools: DomainTools;
  readonly session: string;
  readonly kind: PackKind;
  /** Shared by all threads of the session. */
  readonly sequence: Int32Array;
  /** Called when a pack has its last byte, while it is being made durable. */
  readonly onFilled?: (pack: PackWriter) => void;
}

/** The packs that one thread writes in a session: one is filled while at most two older ones are flushed. */
export class SessionPacks {
  readonly #options: SessionPacksOptions;
  readonly #finished: FinishedPack[] = [];
  readonly #writers = new Set<PackWriter>();
  #current: PackWriter | undefined;
  #inFlight: Promise<void>[] = [];

  constructor(options: SessionPacksOptions) {
    this.#options = options;
  }

  /** Makes sure that a leaf's worth of frames fits into the current pack. Call before `addFrame`, for up to 128 frames. */
  async prepare(): Promise<void> {
    if (this.#current?.isFull(FAN_OUT)) await this.#rotate();
    this.#current ??= await this.#begin();
    await this.#current.drained();
  }

  /** Adds a frame to the pack that `prepare` made ready. */
  addFrame(plain: Uint8Array, ids: Uint8Array): FrameAddress {
    if (this.#current === undefined) throw new Error('no pack was prepared');
    return this.#current.addFrame(plain, ids);
  }

  /** Publishes what is left. Resolves when all packs are durable. */
  async finish(): Promise<readonly FinishedPack[]> {
    if (this.#current !== undefined) await this.#rotate();
    await Promise.all(this.#inFlight);
    return this.#finished;
  }

  /** Gives up all packs that are not published yet, after waiting for those that are being published. Returns those that were. */
  async abort(): Promise<readonly FinishedPack[]> {
    this.#current = undefined;
    await Promise.allSettled(this.#inFlight);
    await Promise.all([...this.#writers].map((writer) => writer.abort()));
    this.#writers.clear();
    return this.#finished;
  }

  async #begin(): Promise<PackWriter> {
    const { tools, session, kind, sequence } = this.#options;
    const name = packNameOf(session, Atomics.add(sequence, 0, 1));
    const writer = await PackWriter.begin(tools.store, { repositoryId: tools.repositoryId, keys: tools.keys, name }, kind, tools.codec);
    this.#writers.add(writer);
    return writer;
  }

  async #rotate(): Promise<void> {
    const pack = this.#current as PackWriter;
    this.#current = undefined;
    const published = pack.finish().then((finished) => {
      this.#writers.delete(pack);
      this.#finished.push(finished);
    });
    // Its failure is reported to whoever waits next.
    published.catch(() => {});
    this.#options.onFilled?.(pack);
    this.#inFlight.push(published);
    if (this.#inFlight.length > PACKS_IN_FLIGHT_MAX) await this.#inFlight.shift();
  }
}
