/**
 * Which part of src/ may import which. Every rule says why it is there and what to do instead of breaking it.
 * The parser is swc: TypeScript 7 has no parser that other programs can use.
 */

const floors = ['lib', 'engine', 'cloud', 'fronts', 'main'];

/** Inside cloud/ a folder uses earlier ones only. */
const cloudOrder = [
  'database',
  'jobs',
  'events',
  'identity',
  'quotas',
  'messages',
  'hosts',
  'flavors',
  'keypairs',
  'server-groups',
  'volume-types',
  'disks',
  'volumes',
  'snapshots',
  'transfers',
  'groups',
  'images',
  'backups',
  'servers',
];

/** What a folder of cloud/ shows to its neighbours beside `service.ts` and `contract.ts`: types and pure rules, no rows and no effects. */
const cloudDoors = [
  'database/(?:connection|lists|schema)',
  'jobs/saga',
  'identity/(?:caller|policy|project-exists|token)',
  'volumes/sources',
  '[^/]+/states',
];

/** Which neighbours a folder of engine/ knows; what is not named here knows none. */
const engineNeighbours = {
  disk: [],
  confinement: [],
  stores: [],
  space: [],
  qemu: [],
  volumes: ['disk', 'confinement', 'qemu'],
  hypervisor: ['confinement', 'qemu'],
  'image-intake': ['disk', 'confinement'],
  repository: ['stores'],
  transfer: ['disk', 'repository', 'stores'],
};

const tests = ['(?:\\.test|contract-suite)\\.ts$', '/contract-suite/'];

const rules = [
  ...floors.slice(0, -1).map((floor, index) => ({
    name: `${floor}-imports-downward-only`,
    comment:
      'Reason: a floor that knows the one above it can neither be read nor tested alone. Remedy: take what you need as a parameter or as a ' +
      'port (an interface that this floor declares), and let the composition root in src/main plug it in.',
    severity: 'error',
    from: { path: `^src/${floor}/` },
    to: { path: `^src/(?:${floors.slice(index + 1).join('|')})/` },
  })),
  ...Object.entries(engineNeighbours).map(([folder, neighbours]) => ({
    name: `engine-${folder}-knows-${neighbours.length === 0 ? 'no-neighbour' : neighbours.join('-and-')}`,
    comment:
      'Reason: the folders of the engine can be exchanged (another volume backend, another store) only while they meet at contracts. Remedy: ' +
      'import a contract.ts, or put what both need into src/lib when it has no product noun.',
    severity: 'error',
    from: { path: `^src/engine/${folder}/`, pathNot: tests },
    to: { path: '^src/engine/', pathNot: [`^src/engine/(?:${[folder, ...neighbours].join('|')})/`, '/contract\\.ts$'] },
  })),
  ...cloudOrder.slice(0, -1).map((folder, index) => ({
    name: `cloud-${folder}-knows-earlier-folders-only`,
    comment:
      'Reason: resources build on each other in one order; a cycle between two of them has no beginning to read. Remedy: declare a small port in ' +
      'the earlier folder and let src/main plug the later one in.',
    severity: 'error',
    from: { path: `^src/cloud/${folder}/`, pathNot: tests },
    to: { path: `^src/cloud/(?:${cloudOrder.slice(index + 1).join('|')})/` },
  })),
  {
    name: 'cloud-neighbours-meet-at-services',
    comment:
      'Reason: whoever reads or writes the rows of another folder bypasses its states, quotas and permissions. Remedy: use or add a function in ' +
      "that folder's service.ts.",
    severity: 'error',
    from: { path: '^src/cloud/([^/]+)/', pathNot: tests },
    to: { path: '^src/cloud/', pathNot: ['^src/cloud/$1/', '/(?:service|contract)\\.ts$', `^src/cloud/(?:${cloudDoors.join('|')})\\.ts$`] },
  },
  {
    name: 'rows-and-jobs-stay-in-their-folder',
    comment:
      "Reason: a front that reads rows or starts steps goes round the use case that checks who asks. Remedy: call the folder's service.ts.",
    severity: 'error',
    from: { path: '^src/fronts/' },
    to: { path: '^src/cloud/.*(?:store|\\.job)\\.ts$' },
  },
  {
    name: 'fronts-do-not-know-disks',
    comment:
      'Reason: fronts translate wire formats, nothing else; only the offline commands of the CLI read a repository without a server. Remedy: go through a service.',
    severity: 'error',
    from: { path: '^src/fronts/(?!cli/)', pathNot: tests },
    to: { path: '^src/engine/' },
  },
  {
    name: 'only-the-composition-root-knows-the-service',
    comment: 'Reason: the CLI talks to a server through the public APIs, as any other client does. Remedy: use client.ts.',
    severity: 'error',
    from: { path: '^src/fronts/cli/', pathNot: tests },
    to: { path: ['^src/cloud/', '^src/fronts/(?!cli/)'] },
  },
  {
    name: 'no-cycles',
    comment: 'Reason: files of a cycle can only be understood together. Remedy: move what both need into a third file, or pass it in.',
    severity: 'error',
    from: {},
    to: { circular: true },
  },
  {
    name: 'no-orphans',
    comment: 'Reason: a file that nothing imports is dead, or its wiring was forgotten. Remedy: remove it, or import it where it belongs.',
    severity: 'error',
    from: { orphan: true, pathNot: [...tests, '\\.d\\.ts$'] },
    to: {},
  },
  {
    name: 'nothing-unresolved',
    comment:
      'Reason: an import that resolves to nothing fails at run time only. Remedy: correct the path, or add the package to package.json.',
    severity: 'error',
    from: {},
    to: { couldNotResolve: true },
  },
  {
    name: 'the-product-does-not-use-test-code',
    comment: 'Reason: tests and their packages are not part of what operators run. Remedy: move what is needed into src/lib.',
    severity: 'error',
    from: { path: '^src/', pathNot: tests },
    to: { path: ['^test/', '^bench/', ...tests], dependencyTypesNot: ['type-only'] },
  },
  {
    name: 'the-product-uses-no-development-packages',
    comment: 'Reason: they are missing where only the product is installed. Remedy: move the package to "dependencies".',
    severity: 'error',
    from: { path: '^src/', pathNot: tests },
    to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'], pathNot: 'node_modules/@types/' },
  },
];

export default {
  forbidden: rules,
  options: {
    parser: 'swc',
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.mjs', '.js', '.json'],
    },
  },
};
