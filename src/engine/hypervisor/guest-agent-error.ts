/** Why a guest's agent did not do what it was asked. */
export type GuestAgentFailure =
  /** There is no channel: the machine ended, or ended the conversation. */
  | 'not-connected'
  /** No answer in time. What was asked may still be done later: after a freeze that timed out, thaw. */
  | 'timed-out'
  /** The agent said no; the message holds its words, cleaned and bounded. */
  | 'refused'
  /** What came is no answer: too long, too deep, not JSON, or of another shape. What was asked may have been done. */
  | 'garbled';

export class GuestAgentError extends Error {
  readonly kind: GuestAgentFailure;

  constructor(kind: GuestAgentFailure, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GuestAgentError';
    this.kind = kind;
  }
}

const wordsMax = 500;

/** Text of the guest's for people: one line, nothing that moves a cursor or turns the direction of writing, at most 500 characters. */
export function guestWords(text: string): string {
  const words = text
    .slice(0, wordsMax * 4)
    .replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim();
  return words.length > wordsMax ? `${words.slice(0, wordsMax).toWellFormed()}…` : words;
}
