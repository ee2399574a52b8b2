import type { Timestamp } from '../database/service.ts';

export const keypairTypes = ['ssh', 'x509'] as const;
export type KeypairType = (typeof keypairTypes)[number];

/** Of a user. The private half is nowhere here. */
export interface Keypair {
  readonly id: number;
  readonly userId: string;
  readonly name: string;
  readonly type: KeypairType;
  /** An OpenSSH line, or a certificate in PEM. */
  readonly publicKey: string;
  readonly fingerprint: string;
  readonly createdAt: Timestamp;
}

export interface KeypairOrder {
  readonly userId: string;
  readonly name: string;
  readonly type: KeypairType;
  /** Null: both halves are made here. */
  readonly publicKey: string | null;
}

/** What is made here, and what is taken from an imported key. */
export interface KeyMaterial {
  readonly publicKey: string;
  readonly fingerprint: string;
  /** Only of what was made here; shown once. In PEM. */
  readonly privateKey?: string;
}

export interface KeypairListQuery {
  readonly userId: string;
  /** Undefined: all. */
  readonly limit: number | undefined;
  /** A name. */
  readonly marker: string | undefined;
}
