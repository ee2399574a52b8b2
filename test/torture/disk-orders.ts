/** What the process of the disks is ordered to do, as data that crosses a process boundary. */
import type { DiskSource } from '../../src/engine/disk/contract.ts';
import type { RepositoryAddress } from '../../src/engine/transfer/contract.ts';
import type { TestServer } from '../support/database-server.ts';

export interface DiskProcessPlan {
  readonly connection: TestServer;
  readonly volumesPath: string;
  readonly runtimeDir: string;
  readonly repository: RepositoryAddress;
}

/** What a new base is to hold: given bytes (an image), or what a backup holds. */
export type PlannedBase =
  | { readonly kind: 'written'; readonly sizeBytes: number; readonly writes: readonly { offset: number; bytes: Uint8Array }[] }
  | { readonly kind: 'restored'; readonly sizeBytes: number; readonly session: string; readonly root: string };

export interface BackupResult {
  readonly session: string;
  readonly root: string;
  /** What an audit of the ranges that count as unchanged found wrong; always nothing. */
  readonly finding: unknown;
  /** What an incremental was made from, and which ranges it read (`ExtentSet.encode`). */
  readonly base: { readonly session: string; readonly changed: Uint8Array } | undefined;
}

type OfVolume = { readonly volumeId: string };
type OfPoint = { readonly pointId: string };
type Held = OfPoint & { readonly holder: string };

export interface DiskOrders {
  createDisk(order: OfVolume & { topLayerId: string; sizeBytes: number; fromPointId: string | null }): Promise<void>;
  freeze(order: OfVolume & Held & { topLayerId: string }): Promise<void>;
  freezeTogether(order: readonly (OfVolume & Held & { topLayerId: string })[]): Promise<void>;
  replaceDisk(order: OfVolume & { fromPointId: string; topLayerId: string; sizeBytes: number }): Promise<void>;
  resize(order: OfVolume & { sizeBytes: number }): Promise<void>;
  sizeOf(order: OfVolume): Promise<number | undefined>;
  dropDisk(order: OfVolume): Promise<void>;
  hold(order: Held): Promise<void>;
  release(order: Held): Promise<void>;
  createBase(order: Held & { layerId: string; home: string; fill: PlannedBase }, signal: AbortSignal): Promise<void>;
  /** An overlay that makes what the point below holds what a backup holds. Returns what an audit of the journals found wrong. */
  overlay(
    order: Held & { layerId: string; belowPointId: string; home: string; sizeBytes: number; session: string; root: string },
    signal: AbortSignal,
  ): Promise<unknown>;
  /** `sessions`: those of earlier attempts. */
  backup(
    order: OfPoint & { backupId: string; sessions: readonly string[]; incremental: boolean },
    signal: AbortSignal,
  ): Promise<BackupResult>;
  publish(order: Held & { session: string; root: string }): Promise<void>;
  forget(order: { sessions: readonly string[] }): Promise<void>;
  source(order: OfPoint): Promise<DiskSource>;
  tidy(): Promise<void>;
  openExport(order: OfVolume & { readOnly: boolean }): Promise<string>;
  closeExport(order: OfVolume): Promise<void>;
  /** What the start of a service does: adopts what is there. */
  begin(): Promise<void>;
  arm(order: { point: string; hits: number }): Promise<void>;
  disarm(): Promise<void>;
  idle(): Promise<void>;
  warnings(): Promise<string[]>;
  stop(): Promise<void>;
}

export type OrderName = keyof DiskOrders;

export interface Order {
  readonly call: number;
  readonly name: OrderName;
  readonly argument: unknown;
}

export type Answer =
  | { readonly call: number; readonly result: unknown }
  | { readonly call: number; readonly failure: { readonly message: string; readonly stack: string; readonly kind: string } };

/** A session is told before it is used, as the saga notes it in its row. */
export interface Noted {
  readonly noted: { readonly backupId: string; readonly session: string };
}
