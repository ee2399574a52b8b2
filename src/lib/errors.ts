/**
 * The one error type that users of the product see.
 *
 * A `ProductError` carries a `kind` (what sort of refusal it is; each front maps it to its own status code and
 * envelope, last of all), and a `message` written for the user. Whatever the operator needs beyond that goes into
 * `cause` and is only logged. Any other error that reaches a front is a defect and answers as an internal error.
 */
export type ErrorKind =
  | 'bad-request'
  | 'unauthorized'
  | 'forbidden'
  | 'not-found'
  | 'method-not-allowed'
  | 'not-acceptable'
  | 'conflict'
  | 'gone'
  | 'precondition-failed'
  | 'over-limit'
  | 'too-large'
  | 'unsupported-media-type'
  | 'range-not-satisfiable'
  | 'unavailable'
  | 'no-space';

export class ProductError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'ProductError';
    this.kind = kind;
  }
}

const constructorOf =
  (kind: ErrorKind) =>
  (message: string, cause?: unknown): ProductError =>
    new ProductError(kind, message, cause === undefined ? undefined : { cause });

export const badRequest = constructorOf('bad-request');
export const unauthorized = constructorOf('unauthorized');
export const forbidden = constructorOf('forbidden');
export const notFound = constructorOf('not-found');
export const methodNotAllowed = constructorOf('method-not-allowed');
export const notAcceptable = constructorOf('not-acceptable');
export const conflict = constructorOf('conflict');
export const gone = constructorOf('gone');
export const preconditionFailed = constructorOf('precondition-failed');
export const overLimit = constructorOf('over-limit');
export const tooLarge = constructorOf('too-large');
export const unsupportedMediaType = constructorOf('unsupported-media-type');
export const rangeNotSatisfiable = constructorOf('range-not-satisfiable');
export const unavailable = constructorOf('unavailable');

/** The text of any thrown value, for logs and `fail_reason` columns. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
