/**
 * The states of an image, and what may be done in each. A change that is not in `transitions` does not happen: every update asks
 * for the states that the table allows as its starting points.
 *
 * `saving` and `importing` are transient. The request that uploads owns `saving` until the bytes are durable, then the saga `image.prepare`
 * does; when the process dies in between, `recover` returns the image to `queued`. `importing` belongs to the saga `image.import` from its
 * first moment. `uploading` is owned by the request that stages until its bytes are durable; then the image rests in it, for as long as its
 * owner likes. Deletion has no state: the row goes at once.
 */
const imageStatuses = ['queued', 'saving', 'uploading', 'importing', 'active', 'deactivated'] as const;

export type ImageStatus = (typeof imageStatuses)[number];

interface Transition {
  readonly from: readonly ImageStatus[];
  readonly to: ImageStatus;
}

export const transitions = {
  uploadBegun: { from: ['queued'], to: 'saving' },
  stageBegun: { from: ['queued'], to: 'uploading' },
  importBegun: { from: ['uploading'], to: 'importing' },
  downloadBegun: { from: ['queued'], to: 'importing' },
  /** The sender went away, the bytes were refused, or there was no room: the upload may be tried again. */
  uploadFailed: { from: ['saving', 'uploading', 'importing'], to: 'queued' },
  /** It has no bytes of its own, and names others instead. */
  registered: { from: ['queued'], to: 'active' },
  prepared: { from: ['saving', 'importing'], to: 'active' },
  /** The saga that made it active is undone after all: it may have been seen as active for a moment. */
  withdrawn: { from: ['active', 'deactivated'], to: 'saving' },
  deactivated: { from: ['active'], to: 'deactivated' },
  reactivated: { from: ['deactivated'], to: 'active' },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof transitions;

const isIn = (status: ImageStatus, states: readonly ImageStatus[]): boolean => states.includes(status);

/** The rules that services, fronts and disabled buttons quote. */
export const can = {
  upload: (image: { status: ImageStatus }) => isIn(image.status, transitions.uploadBegun.from),
  changeFormat: (image: { status: ImageStatus }) => image.status === 'queued',
  /** As long as nothing depends on it: what was staged without a format gets one before it is imported. */
  addFormat: (image: { status: ImageStatus; staged: object | null }) => image.status === 'uploading' && image.staged !== null,
  /** There are bytes to download. */
  read: (image: { status: ImageStatus; sizeBytes: number | null; hashValue: string | null }) =>
    isIn(image.status, ['active', 'deactivated']) && image.sizeBytes !== null && image.hashValue !== null,
  startVolume: (image: { status: ImageStatus }) => image.status === 'active',
};
