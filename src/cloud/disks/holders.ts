/**
 * Who holds a point, as far as the tree of layers has to know: those who only want its bytes to stay, and those who may be reading them now.
 *
 * A reader has the files of the whole chain open. So while one holds a point, no layer below that is written to, though nobody may have named
 * it. Whoever is not known to only name points counts as a reader: a new kind of holder costs a merge that waits, never a wrong read.
 */
import { sql as query } from 'kysely';

/** The beginnings of the holders that never read. */
const naming = ['snapshot:', 'image:', 'volume:', 'revert:', 'reimage:', 'group:', 'unproven:'];

/** SQL, where `point_holds` is at hand: whether a hold is that of a reader. */
export const isReader = query<boolean>`NOT (${query.join(
  naming.map((beginning) => query`holder ^@ ${beginning}`),
  query` OR `,
)})`;
