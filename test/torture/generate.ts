/** Makes a history from a seed. It keeps its own idea of what there will be, so that most steps find what they are about. */
import { diskInstants, serviceInstants } from './instants.ts';
import { RandomSource } from './random-source.ts';
import { namesOf, type SimpleStep, type Step, type WritePlan } from './steps.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;
const sector = 512;
const page = 65_536;

interface Thing {
  readonly name: string;
  sizeBytes: number;
}

interface Volume extends Thing {
  connected: boolean;
}

interface Point extends Thing {
  readonly volume: string | undefined;
}

const volumesMax = 5;
const pointsMax = 8;
const backupsMax = 6;

/** What sizes are counted in: sectors and clusters of disks alone, or the GiB of volumes. */
type Unit = 'bytes' | 'gib';

export interface GenerateOptions {
  readonly kills: boolean;
  readonly unit: Unit;
}

export function generateHistory(seed: number, length: number, options: GenerateOptions): Step[] {
  return new Generator(seed, options).history(length);
}

class Generator {
  readonly #random: RandomSource;
  readonly #kills: boolean;
  readonly #unit: Unit;
  readonly #volumes: Volume[] = [];
  readonly #points: Point[] = [];
  readonly #backups: Thing[] = [];
  #lastName = 0;
  #lastWrite = 0;

  constructor(seed: number, { kills, unit }: GenerateOptions) {
    this.#random = new RandomSource(seed);
    this.#kills = kills;
    this.#unit = unit;
  }

  history(length: number): Step[] {
    const steps: Step[] = [];
    let sinceCheck = 0;
    while (steps.length < length) {
      steps.push(this.#step());
      sinceCheck += 1;
      if (sinceCheck >= 6 && this.#random.chance(0.25)) {
        steps.push({ op: 'check' });
        sinceCheck = 0;
      }
    }
    return steps;
  }

  #step(): Step {
    const kills = this.#kills ? 1 : 0;
    const kind = this.#random.weighted([
      [60, 'one'],
      [12, 'together'],
      [this.#unit === 'bytes' ? 6 : 0, 'crowd'],
      [3, 'restart'],
      [3, 'cancel'],
      [9 * kills, 'kill-service'],
      [6 * kills, 'kill-instant'],
      [5 * kills, 'kill-daemon'],
      [2 * kills, 'kill-mover'],
    ] as const);
    switch (kind) {
      case 'one':
        return this.#simple();
      case 'together':
        return { op: 'together', steps: this.#several(this.#random.between(2, 4)) };
      case 'crowd':
        return { op: 'together', steps: this.#crowd() };
      case 'restart':
        return { op: 'restart' };
      case 'cancel':
        return { op: 'cancel', afterMs: this.#random.below(120), steps: this.#withoutResult(['restore', 'restore-in-place', 'backup']) };
      case 'kill-service': {
        const resume = this.#random.chance(0.6);
        const afterMs = this.#random.below(this.#random.pick([15, 60, 250]) ?? 60);
        const crowded = this.#unit === 'bytes' && this.#random.chance(0.3);
        const make = () => (crowded ? this.#crowd() : this.#several(this.#random.between(1, 3)));
        return { op: 'kill-service', afterMs, resume, steps: resume ? make() : this.#unremembered(make) };
      }
      case 'kill-instant':
        return this.#killAtInstant();
      case 'kill-daemon':
        return this.#killDaemon();
      case 'kill-mover': {
        const step = this.#random.pick(['backup', 'restore', 'restore-in-place'] as const) ?? 'backup';
        return { op: 'kill-mover', afterMs: this.#random.below(150), steps: this.#compact([this.#make(step)]) };
      }
    }
  }

  #compact(steps: readonly (SimpleStep | undefined)[]): SimpleStep[] {
    return steps.filter((step) => step !== undefined);
  }

  #simple(): SimpleStep {
    for (;;) {
      const step = this.#make(this.#kind());
      if (step !== undefined) return step;
    }
  }

  #kind(): SimpleStep['op'] {
    const many = this.#volumes.length >= volumesMax;
    return this.#random.weighted([
      [many ? 0 : 7, 'create'],
      [this.#points.length >= pointsMax ? 0 : 2, 'image'],
      [10, 'connect'],
      [5, 'disconnect'],
      [22, 'write'],
      [this.#points.length >= pointsMax ? 2 : 14, 'snapshot'],
      [this.#unit === 'bytes' && this.#points.length < pointsMax ? 5 : 0, 'snapshot-together'],
      [7, 'revert'],
      [4, 'extend'],
      [many ? 16 : 8, 'delete'],
      [1, 'cascade'],
      [this.#backups.length >= backupsMax ? 1 : 8, 'backup'],
      [many ? 0 : 3, 'restore'],
      [4, 'restore-in-place'],
      [5, 'tidy'],
    ] as const);
  }

  /** Steps that have nothing to do with each other, as far as the model goes. */
  #several(count: number, taken: Set<string> = new Set()): SimpleStep[] {
    const steps: SimpleStep[] = [];
    for (let tries = 0; tries < 20 && steps.length < count; tries += 1) {
      const step = this.#simple();
      const names = namesOf(step);
      // What the generator believes of a step that is thrown away does not matter: later steps about it do nothing.
      if (names.some((name) => taken.has(name))) continue;
      for (const name of names) taken.add(name);
      steps.push(step);
    }
    return steps;
  }

  /** Its results are not counted upon. */
  #withoutResult(kinds: readonly SimpleStep['op'][]): SimpleStep[] {
    const kind = this.#random.pick(kinds) ?? 'tidy';
    return this.#unremembered(() => this.#compact([this.#make(kind)]));
  }

  /** All at one disk, which has to keep them apart. One of them writes. */
  #crowd(): SimpleStep[] {
    const volume = this.#random.pick(this.#volumes);
    if (volume === undefined) return [this.#simple()];
    const steps: SimpleStep[] = [this.#random.chance(0.5) ? this.#snapshotOf(volume) : this.#backupOf(volume)];
    const own = this.#random.pick(
      this.#points.filter((point) => point.volume === volume.name && !steps.some((step) => namesOf(step).includes(point.name))),
    );
    const silent: (() => SimpleStep | undefined)[] = [
      () => ({ ...this.#snapshotOf(volume), meanwhile: [] }) as SimpleStep,
      () => ({ ...this.#backupOf(volume), meanwhile: [] }) as SimpleStep,
      () => ({ op: 'tidy' }),
      () => this.#cloneOf(volume),
      () => own && this.#deleted(own),
      () => this.#toggled(volume),
    ];
    for (const make of silent) if (this.#random.chance(0.4)) steps.push(...this.#compact([make()]));
    return steps;
  }

  #cloneOf({ name, sizeBytes }: Volume): SimpleStep {
    const as = this.#name('v');
    this.#volumes.push({ name: as, sizeBytes, connected: false });
    return { op: 'create', as, sizeBytes, from: name };
  }

  #deleted(point: Point): SimpleStep {
    this.#forget(this.#points, point);
    return { op: 'delete', what: point.name };
  }

  /** Connected while other things go on; a client does not leave while it writes. */
  #toggled(volume: Volume): SimpleStep | undefined {
    if (volume.connected) return undefined;
    volume.connected = true;
    return { op: 'connect', volume: volume.name, attached: true };
  }

  #unremembered<T>(make: () => T): T {
    const [volumes, points, backups] = [this.#volumes.map((one) => ({ ...one })), [...this.#points], [...this.#backups]];
    const made = make();
    this.#volumes.splice(0, this.#volumes.length, ...volumes);
    this.#points.splice(0, this.#points.length, ...points);
    this.#backups.splice(0, this.#backups.length, ...backups);
    return made;
  }

  #killAtInstant(): Step {
    const instants = this.#unit === 'bytes' ? diskInstants : serviceInstants;
    const [point, by] = this.#random.pick(instants) ?? ['freeze:planned', 'snapshot'];
    const hits = this.#random.chance(0.8) ? 0 : 1;
    const resume = this.#random.chance(0.6);
    const make = (): SimpleStep[] => {
      const steps = this.#compact([this.#make(by)]);
      return [...steps, ...this.#several(this.#random.below(2), new Set(steps.flatMap(namesOf)))];
    };
    return { op: 'kill-service', at: { point, hits }, afterMs: 0, resume, steps: resume ? make() : this.#unremembered(make) };
  }

  #killDaemon(): Step {
    const volume = this.#random.pick(this.#volumes.filter(({ connected }) => connected));
    if (volume === undefined) return this.#simple();
    const steps: SimpleStep[] = [];
    const kind = this.#random.below(4);
    if (kind <= 1) steps.push({ op: 'write', volume: volume.name, writes: this.#writes(volume, 30) });
    if (kind === 2) steps.push(this.#snapshotOf(volume));
    if (kind === 3) steps.push(this.#backupOf(volume));
    steps.push(...this.#several(this.#random.below(2), new Set([volume.name, ...steps.flatMap(namesOf)])));
    volume.connected = false;
    return { op: 'kill-daemon', volume: volume.name, afterMs: this.#random.below(40), steps };
  }

  #name(letter: string): string {
    this.#lastName += 1;
    return `${letter}${this.#lastName}`;
  }

  #size(): number {
    if (this.#unit === 'gib') return this.#random.chance(0.8) ? gib : 2 * gib;
    if (this.#random.chance(0.04)) return this.#random.between(1, 3) * gib;
    if (this.#random.chance(0.15)) return this.#random.between(1, 20_000) * sector;
    return this.#random.between(1, 160) * page;
  }

  /** Places that collide: near the beginning, at the ends of clusters, at the end of the disk. */
  #range(sizeBytes: number): { at: number; length: number } {
    const length = this.#random.weighted([
      [4, this.#random.between(1, 16) * 4096],
      [2, this.#random.between(1, 8) * page],
      [2, this.#random.between(1, 5000)],
      [1, this.#random.between(1, 16) * sector],
      [1, 2 * mib],
    ]);
    const near = Math.min(sizeBytes, this.#random.pick([256 * 1024, 2 * mib, sizeBytes]) ?? sizeBytes);
    const at = this.#random.weighted([
      [4, Math.floor(this.#random.below(near) / 4096) * 4096],
      [2, Math.floor(this.#random.below(near) / page) * page],
      [2, this.#random.below(near)],
      [1, Math.max(0, sizeBytes - length)],
    ]);
    return { at, length: Math.max(1, Math.min(length, sizeBytes - at)) };
  }

  #writes({ sizeBytes }: Thing, countMax: number): WritePlan[] {
    return Array.from({ length: this.#random.between(1, countMax) }, () => {
      this.#lastWrite += 1;
      const how = this.#random.weighted([
        [10, 'data'],
        [1, 'durable'],
        [2, 'zero'],
        [2, 'punch'],
        [2, 'trim'],
        [2, 'flush'],
      ] as const);
      const range = how === 'flush' ? { at: 0, length: 0 } : this.#range(sizeBytes);
      return { n: this.#lastWrite, how, ...range };
    });
  }

  #snapshotOf(volume: Volume): SimpleStep {
    const as = this.#name('s');
    this.#points.push({ name: as, sizeBytes: volume.sizeBytes, volume: volume.name });
    return { op: 'snapshot', volume: volume.name, as, meanwhile: volume.connected ? this.#writes(volume, 25) : [] };
  }

  /** With one or two others, connected ones rather than others: they have to be kept from writing. */
  #snapshotTogether(first: Volume): SimpleStep | undefined {
    const others = this.#volumes.filter((volume) => volume !== first);
    const open = others.filter(({ connected }) => connected);
    const second = this.#random.pick(open.length > 0 && this.#random.chance(0.8) ? open : others);
    if (second === undefined) return undefined;
    const third = this.#random.chance(0.3) ? this.#random.pick(others.filter((volume) => volume !== second)) : undefined;
    const volumes = [first, second, ...(third === undefined ? [] : [third])];
    const parts = volumes.map(({ name, sizeBytes }) => {
      const as = this.#name('s');
      this.#points.push({ name: as, sizeBytes, volume: name });
      return { volume: name, as };
    });
    return { op: 'snapshot-together', parts, meanwhile: this.#writes(first, 15) };
  }

  #backupOf(source: Volume | Point): SimpleStep {
    const as = this.#name('b');
    this.#backups.push({ name: as, sizeBytes: source.sizeBytes });
    const isWritten = 'connected' in source && source.connected;
    const meanwhile = isWritten ? this.#writes(source, 20) : [];
    return { op: 'backup', of: source.name, as, incremental: this.#random.chance(0.7), meanwhile };
  }

  #make(op: SimpleStep['op']): SimpleStep | undefined {
    const random = this.#random;
    const volume = random.pick(this.#volumes);
    switch (op) {
      case 'create':
        return this.#create();
      case 'image':
        return this.#image();
      case 'connect': {
        const free = random.pick(this.#volumes.filter(({ connected }) => !connected));
        if (free === undefined) return undefined;
        free.connected = true;
        return { op, volume: free.name, attached: random.chance(0.85) };
      }
      case 'disconnect': {
        const open = random.pick(this.#volumes.filter(({ connected }) => connected));
        if (open === undefined) return undefined;
        open.connected = false;
        return { op, volume: open.name };
      }
      case 'write': {
        const open = random.pick(this.#volumes.filter(({ connected }) => connected));
        return open && { op, volume: open.name, writes: this.#writes(open, 12) };
      }
      case 'snapshot':
        return volume && this.#snapshotOf(volume);
      case 'snapshot-together':
        return volume && this.#snapshotTogether(volume);
      case 'extend':
        return volume && this.#extend(volume);
      case 'cascade':
        return volume && this.#cascade(volume);
      case 'delete':
        return this.#delete();
      case 'backup': {
        const source = random.pick<Volume | Point>([...this.#volumes, ...this.#volumes, ...this.#points]);
        return source && this.#backupOf(source);
      }
      case 'revert':
      case 'restore':
      case 'restore-in-place':
        return this.#goBack(op, volume);
      case 'tidy':
        return { op };
    }
  }

  #create(): SimpleStep {
    const as = this.#name('v');
    const from = this.#random.chance(0.6) ? this.#random.pick<Thing>([...this.#points, ...this.#points, ...this.#volumes]) : undefined;
    const sizeBytes = from === undefined ? this.#size() : this.#grown(from);
    this.#volumes.push({ name: as, sizeBytes, connected: false });
    return { op: 'create', as, sizeBytes, ...(from === undefined ? {} : { from: from.name }) };
  }

  /** A disk that starts from another is as large or larger. */
  #grown({ sizeBytes }: Thing): number {
    if (this.#unit === 'gib') return Math.max(1, Math.ceil(sizeBytes / gib) + (this.#random.chance(0.2) ? 1 : 0)) * gib;
    return sizeBytes + (this.#random.chance(0.3) ? this.#random.below(64) * page : 0);
  }

  #image(): SimpleStep {
    const as = this.#name('i');
    const sizeBytes = this.#unit === 'gib' ? this.#random.between(1, 12 * mib) : Math.min(this.#size(), 12 * mib);
    this.#points.push({ name: as, sizeBytes, volume: undefined });
    return { op: 'image', as, sizeBytes, writes: this.#writes({ name: as, sizeBytes }, 6) };
  }

  #extend(volume: Volume): SimpleStep {
    if (this.#unit === 'gib') volume.sizeBytes += gib;
    else volume.sizeBytes += this.#random.chance(0.2) ? this.#random.between(1, 300) * sector : this.#random.between(1, 64) * page;
    return { op: 'extend', volume: volume.name, sizeBytes: volume.sizeBytes };
  }

  #cascade(volume: Volume): SimpleStep {
    this.#forget(this.#volumes, volume);
    for (const point of this.#points.filter((one) => one.volume === volume.name)) this.#forget(this.#points, point);
    return { op: 'cascade', volume: volume.name };
  }

  #delete(): SimpleStep | undefined {
    const list = this.#random.weighted<Thing[]>([
      [this.#volumes.length > 1 ? 2 : 0, this.#volumes],
      [5, this.#points],
      [1, this.#backups],
    ]);
    const thing = this.#random.pick(list);
    if (thing === undefined) return undefined;
    this.#forget(list, thing);
    return { op: 'delete', what: thing.name };
  }

  #goBack(op: 'revert' | 'restore' | 'restore-in-place', volume: Volume | undefined): SimpleStep | undefined {
    const backup = this.#random.pick(this.#backups);
    if (op === 'restore') {
      if (backup === undefined) return undefined;
      const as = this.#name('v');
      this.#volumes.push({ name: as, sizeBytes: backup.sizeBytes, connected: false });
      return { op, from: backup.name, as, sizeBytes: backup.sizeBytes };
    }
    if (volume === undefined) return undefined;
    if (op === 'restore-in-place') {
      const target = this.#random.pick(this.#volumes.filter(({ connected }) => !connected));
      if (target === undefined) return undefined;
      const fitting = this.#random.pick(this.#backups.filter(({ sizeBytes }) => sizeBytes <= target.sizeBytes));
      return fitting && { op, from: fitting.name, volume: target.name, whole: this.#random.chance(0.2) };
    }
    const own = this.#points.filter((point) => point.volume === volume.name);
    const point = this.#random.pick(own.length > 0 && this.#random.chance(0.8) ? own : this.#points);
    if (point === undefined || point.sizeBytes > volume.sizeBytes) return undefined;
    return { op, volume: volume.name, to: point.name };
  }

  #forget<T>(list: T[], thing: T): void {
    const at = list.indexOf(thing);
    if (at >= 0) list.splice(at, 1);
  }
}
