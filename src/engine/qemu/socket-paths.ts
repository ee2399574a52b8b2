/** The kernel's limit for names of unix sockets, without the final zero. */
const socketPathBytesMax = 107;

/** Throws a `RangeError` when a socket `depthBytes` further down (with the slash) could not be connected to. */
export function checkSocketPaths(runtimeDir: string, depthBytes: number): void {
  const longest = Buffer.byteLength(runtimeDir) + depthBytes;
  if (longest > socketPathBytesMax) {
    throw new RangeError(
      `the runtime folder ${runtimeDir} is too long: names of sockets in it would have ${longest} bytes, at most ${socketPathBytesMax} are possible`,
    );
  }
}
