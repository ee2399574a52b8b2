/** What every write to one served disk passes. */
export interface WriteGate {
  /** Waits while the gate is closed. */
  pass(): Promise<void>;
  close(): void;
  open(): void;
}

export function createWriteGate(): WriteGate {
  let closed: { readonly opened: Promise<void>; readonly open: () => void } | undefined;
  return {
    async pass() {
      while (closed !== undefined) await closed.opened;
    },
    close() {
      if (closed !== undefined) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      closed = { opened: promise, open: resolve };
    },
    open() {
      closed?.open();
      closed = undefined;
    },
  };
}
