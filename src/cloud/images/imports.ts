/** Imports: bytes that were staged, or that lie on the web, become the image's by a job that nobody has to wait for. */
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { JsonMap, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { canSee } from '../identity/policy.ts';
import { authorise, visibleImage } from './access.ts';
import type { ImagesDeps } from './deps.ts';
import { diskKindOf, type Image, type TaskStatus } from './image.ts';
import { type ImportInput, importKind } from './import.job.ts';
import { reserveImages } from './quota.ts';
import { changeStatus, findImage, lockImage } from './store.ts';
import { findTask, type ImageTask, insertTask, selectTasks, tasksOfImage } from './task-store.ts';
import { isUnfinished } from './upload.ts';

export type { ImageTask } from './task-store.ts';

export type ImportMethod = 'glance-direct' | 'web-download';

export interface ImportOrder {
  readonly method: ImportMethod;
  /** Of `web-download`. */
  readonly uri: string | undefined;
  /** The request as it came, for the task. */
  readonly request: JsonMap;
}

export interface ImageImports {
  /** What is switched on. */
  readonly methods: readonly ImportMethod[];
  /** Answers when the job has begun. */
  begin(caller: Caller, imageId: string, order: ImportOrder): Promise<void>;
  /** The imports of one image, the newest first. */
  tasksOf(caller: Caller, imageId: string): Promise<ImageTask[]>;
  listTasks(caller: Caller, query: { status: TaskStatus | undefined; limit: number; marker: string | undefined }): Promise<ImageTask[]>;
  showTask(caller: Caller, id: string): Promise<ImageTask>;
}

export function createImageImports(deps: ImagesDeps): ImageImports {
  const { database, jobs, clock } = deps;
  const { webDownload } = deps.intake;

  function sourceOf(image: Image, { method, uri }: ImportOrder): ImportInput['source'] {
    if (image.status === 'active') throw conflict('Image with status active cannot be target for import');
    if (method === 'web-download' && image.status !== 'queued')
      throw conflict("Image needs to be in 'queued' state to use 'web-download' method");
    if (method === 'glance-direct' && (image.status !== 'uploading' || image.staged === null)) {
      throw conflict("Image needs to be staged before 'glance-direct' method can be used");
    }
    for (const [name, value] of [
      ['container_format', image.containerFormat],
      ['disk_format', image.diskFormat],
    ]) {
      if (value === null) throw conflict(`'${name}' needs to be set before import`);
    }
    if (image.staged === null) return { kind: 'web', uri: checkedUri(uri) };
    const { sizeBytes, md5, sha512 } = image.staged;
    return { kind: 'staged', received: { sizeBytes, md5, sha512 } };
  }

  function checkedUri(uri: string | undefined): string {
    const refusal = uri === undefined ? 'there is none' : webDownload?.refusalOf(uri);
    if (uri === undefined || refusal !== undefined) throw badRequest(`URI for web-download does not pass filtering: ${refusal}`);
    return uri;
  }

  async function start(tx: Tx, caller: Caller, image: Image, order: ImportOrder): Promise<void> {
    const source = sourceOf(image, order);
    const sizeBytes = image.staged?.sizeBytes ?? 0;
    await reserveImages(deps.quota, tx, image.owner, {
      image_size_total: sizeBytes,
      ...(source.kind === 'web' ? { image_count_uploading: 1 } : {}),
    });
    const sagaId = newId();
    const uploadId = image.staged?.uploadId ?? newId();
    const input: ImportInput = {
      imageId: image.id,
      uploadId,
      kind: diskKindOf(image),
      layerId: newId(),
      pointId: newId(),
      source,
    };
    await changeStatus(tx.sql, image.id, source.kind === 'web' ? 'downloadBegun' : 'importBegun', clock.nowText());
    await jobs.start(tx, { kind: importKind, subjectId: image.id, projectId: image.owner, input, sagaId });
    await insertTask(
      tx.sql,
      {
        id: sagaId,
        imageId: image.id,
        owner: caller.projectId ?? image.owner,
        userId: caller.userId,
        requestId: caller.requestId,
        input: { image_id: image.id, import_req: order.request },
      },
      clock.nowText(),
    );
  }

  return {
    methods: ['glance-direct', ...(webDownload === undefined ? [] : ['web-download' as const])],

    async begin(caller, imageId, order) {
      const sagas = await jobs.find(imageId);
      await database.transact(async (tx) => {
        const image = await visibleImage(tx.sql, caller, imageId, lockImage);
        authorise(caller, 'image:upload', image.owner);
        // A failed upload is over when its saga is: until then the saga may still remove files.
        if (sagas.some(isUnfinished)) throw conflict(`Image ${imageId} is being worked on`);
        await start(tx, caller, image, order);
      });
    },

    async tasksOf(caller, imageId) {
      const image = await visibleImage(database.sql, caller, imageId, findImage);
      authorise(caller, 'image:see_tasks', null);
      // Whoever may see the image need not know where its bytes came from.
      if (!canSee(caller, { projectId: image.owner })) return [];
      return await tasksOfImage(database.sql, image.id, clock.nowText());
    },

    async listTasks(caller, query) {
      authorise(caller, 'image:list_tasks', null);
      const marker = query.marker === undefined ? undefined : await taskWithId(query.marker);
      if (query.marker !== undefined && marker === undefined) throw badRequest(`No task found with ID ${query.marker}`);
      return await selectTasks(database.sql, { ...query, marker });
    },

    async showTask(caller, id) {
      authorise(caller, 'image:list_tasks', null);
      const task = await taskWithId(id);
      if (task === undefined) throw notFound(`No task found with ID ${id}`);
      return task;
    },
  };

  async function taskWithId(id: string): Promise<ImageTask | undefined> {
    return isUuid(id) ? await findTask(database.sql, id) : undefined;
  }
}
