/**
 * Layers: rows against files. The files are listed first and the rows read after them: a row is written before its file is made and goes after it, so
 * whatever was listed has a row, or had one and is gone by now.
 *
 * What looks wrong is looked at again by itself: its rows, its file, and its rows once more. Only when the rows have not changed in between, the
 * file was looked at in the state that they tell of. Nothing has to be locked for that, except where a file changes before its row does: growing a disk, and
 * repairing one.
 */
import type { LayerName, StoredLayer } from '../../engine/volumes/inventory-contract.ts';
import type { Sql } from './locks.ts';
import { type LayerRepairDeps, repairLayerProblem } from './reconcile-layer-repair.ts';
import { judgeLayer, keyOf, type LayerFacts, type LayerProblem, type Surroundings, treeOf } from './reconcile-layer-rules.ts';
import { layersMissing, layerTexts, type TextDeps } from './reconcile-layer-texts.ts';
import type { Suspicion } from './reconcile-report.ts';
import { loadNeighbours } from './reconcile-rows.ts';

export interface LayerInspectionDeps extends LayerRepairDeps, TextDeps {}

/** Rows may change at any time; who meets a change looks again, so often. */
const closeLooksMax = 3;

export function suspectLayers(deps: LayerInspectionDeps, rows: readonly LayerFacts[], files: readonly StoredLayer[]): Suspicion[] {
  const tree = treeOf(rows);
  const filesById = Map.groupBy(files, (file) => file.id);
  const ids = new Set([...tree.byId.keys(), ...filesById.keys()]);
  const problems = [...ids].flatMap((id) => judgeLayer(tree, id, filesById.get(id) ?? []));
  const missing = problems.filter((problem) => problem.kind === 'layer-missing');
  const wanted = rows.filter((row) => row.state !== 'planned' && row.state !== 'doomed');
  if (missing.length > 1 && missing.length === wanted.length) return [allMissing(deps, wanted)];
  const surroundings: Surroundings = {
    missing: Map.groupBy(
      missing.map((problem) => problem.row),
      (row) => row.home,
    ),
    unknownCount: problems.filter((problem) => problem.kind === 'layer-unknown').length,
    fileCount: files.length,
  };
  return problems.map((problem) => suspect(deps, problem, surroundings));
}

function suspect(deps: LayerInspectionDeps, problem: LayerProblem, surroundings: Surroundings): Suspicion {
  const key = keyOf(problem);
  const name: LayerName = problem.kind === 'layer-missing' ? problem.row : problem.file;
  const isStillSo = async (sql: Sql): Promise<boolean> =>
    (await lookClosely(deps, sql, problem))?.some((found) => keyOf(found) === key) === true;
  return {
    key,
    kind: problem.kind,
    subject: name.id,
    confirm: async () => {
      if (problem.kind !== 'size-differs' && problem.kind !== 'space-leaked') return await isStillSo(deps.database.sql);
      return (await deps.locks.tryWithVolume(name.home, isStillSo)) === true;
    },
    describe: () => layerTexts(deps, problem, surroundings),
    repair: (how) => repairLayerProblem(deps, problem, { ...how, surroundings, isStillSo }),
  };
}

/** What is wrong with one layer at one moment; undefined when its rows are changing all the time. */
async function lookClosely({ inventory }: LayerInspectionDeps, sql: Sql, problem: LayerProblem): Promise<LayerProblem[] | undefined> {
  const id = problem.kind === 'layer-unknown' ? problem.file.id : problem.row.id;
  for (let attempt = 0; attempt < closeLooksMax; attempt += 1) {
    const before = await loadNeighbours(sql, id);
    const own = before.find((row) => row.id === id);
    const names = [...(own === undefined ? [] : [own]), ...(problem.kind === 'layer-missing' ? [] : [problem.file])];
    const files = new Map<string, StoredLayer>();
    for (const name of names) {
      const file = await inventory.findStored(name);
      if (file !== undefined) files.set(inventory.placeOf(file), file);
    }
    const after = await loadNeighbours(sql, id);
    if (versionsOf(before) === versionsOf(after)) return judgeLayer(treeOf(after), id, [...files.values()]);
  }
  return undefined;
}

const versionsOf = (rows: readonly LayerFacts[]): string => rows.map(({ id, version }) => `${id}@${version}`).join();

/** A folder that is not mounted looks like the loss of everything, and is none. */
function allMissing(deps: LayerInspectionDeps, wanted: readonly LayerFacts[]): Suspicion {
  const [first] = wanted;
  return {
    key: 'all-layers-missing',
    kind: 'all-layers-missing',
    subject: 'all',
    confirm: async () => first !== undefined && (await deps.inventory.findStored(first)) === undefined,
    describe: async () => layersMissing(deps, wanted),
  };
}
