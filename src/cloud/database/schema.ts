/**
 * The tables of `migrations/` as Kysely types: one interface a table, kept by hand beside the SQL.
 *
 * How values travel (the parsers are in `connection.ts`): `bigint` as a number (sizes stay far below 2^53; a larger value is an error),
 * `timestamptz` as a `Timestamp` text that keeps microseconds, `jsonb` parsed when read and written as text (`json(value)` of `service.ts`, because the
 * driver would turn an array into a PostgreSQL array), `bytea` as a Buffer. Columns that may be null may be left out of an insert.
 */
import type { ColumnType, Generated, GeneratedAlways } from 'kysely';
import type { Timestamp } from '../../lib/clock.ts';

export type { Timestamp };

/**
 * What a `jsonb` column can hold. Declare the shapes that go in as `type`, not as `interface`: TypeScript gives only the former the
 * index signature that is asked for here.
 */
export type Json = string | number | boolean | null | readonly Json[] | JsonMap;
export type JsonMap = { readonly [key: string]: Json | undefined };
export type StringMap = { readonly [key: string]: string };

type JsonColumn<Value> = ColumnType<Value, string, string>;
type DefaultedJsonColumn<Value> = ColumnType<Value, string | undefined, string>;
type NullableJsonColumn<Value> = ColumnType<Value | null, string | null | undefined, string | null>;
type DefaultedTimestamp = ColumnType<Timestamp, Timestamp | undefined, Timestamp>;

export interface DomainsTable {
  id: string;
  name: string;
  description: Generated<string>;
  enabled: Generated<boolean>;
  immutable: Generated<boolean>;
  extra: DefaultedJsonColumn<JsonMap>;
  config: NullableJsonColumn<JsonMap>;
}

export interface ProjectsTable {
  id: string;
  domain_id: string;
  parent_id: string;
  name: string;
  description: Generated<string>;
  enabled: Generated<boolean>;
  immutable: Generated<boolean>;
  extra: DefaultedJsonColumn<JsonMap>;
}

export interface UsersTable {
  id: string;
  domain_id: string;
  name: string;
  password_hash: string | null;
  bootstrap_password_hash: string | null;
  enabled: Generated<boolean>;
  default_project_id: string | null;
  extra: DefaultedJsonColumn<JsonMap>;
  options: DefaultedJsonColumn<JsonMap>;
  failed_logins: Generated<number>;
  failed_login_at: Timestamp | null;
}

export interface GroupsTable {
  id: string;
  domain_id: string;
  name: string;
  description: Generated<string>;
  extra: DefaultedJsonColumn<JsonMap>;
}

export interface GroupMembersTable {
  user_id: string;
  group_id: string;
}

export interface RolesTable {
  id: string;
  name: string;
  description: string | null;
  domain_id: string | null;
  immutable: Generated<boolean>;
}

export interface RoleImplicationsTable {
  prior_role_id: string;
  implied_role_id: string;
}

export interface RoleAssignmentsTable {
  user_id: string | null;
  group_id: string | null;
  role_id: string;
  project_id: string | null;
  domain_id: string | null;
  inherited: Generated<boolean>;
}

export interface ApplicationCredentialsTable {
  id: string;
  user_id: string;
  project_id: string;
  name: string;
  description: string | null;
  secret_hash: string;
  role_ids: string[];
  unrestricted: Generated<boolean>;
  expires_at: Timestamp | null;
}

export interface AccessRulesTable {
  id: string;
  user_id: string;
  service: string;
  method: string;
  path: string;
}

export interface ApplicationCredentialRulesTable {
  credential_id: string;
  rule_id: string;
}

export interface RegionsTable {
  id: string;
  description: Generated<string>;
  parent_region_id: string | null;
  built_in: Generated<boolean>;
  extra: DefaultedJsonColumn<JsonMap>;
}

export interface ServicesTable {
  id: string;
  type: string;
  name: Generated<string>;
  description: Generated<string>;
  enabled: Generated<boolean>;
  built_in: Generated<boolean>;
  extra: DefaultedJsonColumn<JsonMap>;
}

export interface EndpointsTable {
  id: string;
  service_id: string;
  interface: 'public' | 'internal' | 'admin';
  region_id: string | null;
  url: string;
  enabled: Generated<boolean>;
  built_in: Generated<boolean>;
  extra: DefaultedJsonColumn<JsonMap>;
}

export interface ProjectEndpointsTable {
  project_id: string;
  endpoint_id: string;
}

export interface EndpointGroupsTable {
  id: string;
  name: string;
  description: Generated<string>;
  filters: JsonColumn<JsonMap>;
}

export interface ProjectEndpointGroupsTable {
  project_id: string;
  endpoint_group_id: string;
}

export interface CredentialsTable {
  id: string;
  user_id: string;
  project_id: string | null;
  type: string;
  blob: Buffer;
}

export interface PoliciesTable {
  id: string;
  type: string;
  blob: string;
}

export interface RegisteredLimitsTable {
  id: string;
  service_id: string;
  region_id: string | null;
  resource_name: string;
  default_limit: number;
  description: string | null;
}

export interface LimitsTable {
  id: string;
  project_id: string | null;
  domain_id: string | null;
  service_id: string;
  region_id: string | null;
  resource_name: string;
  resource_limit: number;
  description: string | null;
}

export interface OauthConsumersTable {
  id: string;
  description: string | null;
  secret: Buffer;
}

export interface TokensTable {
  hash: Buffer;
  user_id: string;
  project_id: string | null;
  domain_id: string | null;
  system_scope: Generated<boolean>;
  application_credential_id: string | null;
  methods: string[];
  audit_ids: string[];
  issued_at: Timestamp;
  expires_at: Timestamp;
}

export interface QuotaLimitsTable {
  project_id: string;
  resource: string;
  hard_limit: number;
}

export interface SagasTable {
  id: string;
  kind: string;
  subject_id: string;
  project_id: string | null;
  input: JsonColumn<Json>;
  outputs: DefaultedJsonColumn<JsonMap>;
  status: Generated<'pending' | 'running' | 'undoing' | 'done' | 'failed' | 'cancelled'>;
  step: string | null;
  cancel_requested: Generated<boolean>;
  failure: string | null;
  owner: number | null;
  epoch: Generated<number>;
  progress: NullableJsonColumn<{ readonly doneBytes: number; readonly totalBytes: number }>;
  request_id: string | null;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface EventsTable {
  id: GeneratedAlways<number>;
  project_id: string | null;
  kind: string;
  resource_type: string;
  resource_id: string;
  payload: DefaultedJsonColumn<JsonMap>;
  created_at: DefaultedTimestamp;
}

export interface LayersTable {
  id: string;
  parent_id: string | null;
  home: string;
  format: 'raw' | 'qcow2';
  size_bytes: number;
  state: 'planned' | 'top' | 'frozen' | 'merging' | 'doomed';
  allocated_bytes: Generated<number | null>;
  created_at: DefaultedTimestamp;
}

export interface PointsTable {
  id: string;
  parent_id: string | null;
  layer_id: string | null;
  size_bytes: number;
  journal: Buffer | null;
  created_at: DefaultedTimestamp;
  consistency: string | null;
  freeze_ms: number | null;
}

export interface PointHoldsTable {
  point_id: string;
  holder: string;
}

export interface PointRootsTable {
  point_id: string;
  repository_id: string;
  domain: string;
  session: string;
  root: string;
}

export interface VolumeTypesTable {
  id: string;
  name: string;
  description: string | null;
  is_public: Generated<boolean>;
  extra_specs: DefaultedJsonColumn<StringMap>;
  qos_specs_id: string | null;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface VolumeTypeAccessTable {
  volume_type_id: string;
  project_id: string;
}

export interface VolumeTypeEncryptionTable {
  volume_type_id: string;
  encryption_id: string;
  provider: string;
  control_location: 'front-end' | 'back-end';
  cipher: string | null;
  key_size: number | null;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface QosSpecsTable {
  id: string;
  name: string;
  consumer: 'back-end' | 'front-end' | 'both';
  specs: DefaultedJsonColumn<StringMap>;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface DefaultVolumeTypesTable {
  project_id: string;
  volume_type_id: string;
}

export interface ServiceStatesTable {
  host: string;
  binary_name: string;
  disabled: Generated<boolean>;
  disabled_reason: string | null;
  frozen: Generated<boolean>;
  forced_down: Generated<boolean>;
}

export interface MessagesTable {
  id: string;
  project_id: string;
  request_id: string | null;
  resource_type: 'VOLUME' | 'VOLUME_SNAPSHOT' | 'VOLUME_BACKUP';
  resource_uuid: string;
  action_id: string;
  detail_id: string;
  message_level: Generated<string>;
  created_at: DefaultedTimestamp;
  expires_at: Timestamp;
}

export interface VolumesTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string | null;
  description: string | null;
  status: string;
  previous_status: string | null;
  status_reason: string | null;
  size_gib: number;
  availability_zone: string;
  volume_type_id: string;
  bootable: Generated<boolean>;
  readonly: boolean | null;
  snapshot_id: string | null;
  source_volid: string | null;
  metadata: DefaultedJsonColumn<StringMap>;
  image_metadata: DefaultedJsonColumn<StringMap>;
  top_layer_id: string | null;
  head_point_id: string | null;
  group_id: string | null;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface ServersTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string;
  description: string | null;
  hostname: string;
  access_ip_v4: Generated<string>;
  access_ip_v6: Generated<string>;
  vm_state: string;
  task_state: string | null;
  power_state: Generated<number>;
  lock_reason: string | null;
  is_locked: Generated<boolean>;
  flavor: JsonColumn<JsonMap>;
  image_id: string | null;
  image_properties: DefaultedJsonColumn<StringMap>;
  key_name: string | null;
  public_key: string | null;
  user_data: string | null;
  has_config_drive: Generated<boolean>;
  metadata: DefaultedJsonColumn<StringMap>;
  tags: Generated<string[]>;
  disk_config: Generated<string>;
  availability_zone: string;
  reservation_id: string;
  launch_index: Generated<number>;
  fault_code: number | null;
  fault_message: string | null;
  fault_at: Timestamp | null;
  machine_id: string | null;
  process_id: number | null;
  frozen_at: Timestamp | null;
  launched_at: Timestamp | null;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface ServerDisksTable {
  server_id: string;
  volume_id: string;
  device: string;
  attachment_id: string;
  boot_index: number | null;
  is_local: boolean;
  delete_on_termination: boolean;
  tag: string | null;
  is_leaving: Generated<boolean>;
  created_at: DefaultedTimestamp;
}

export interface ServerActionsTable {
  request_id: string;
  server_id: string;
  action: string;
  user_id: string;
  project_id: string;
  message: string | null;
  started_at: DefaultedTimestamp;
  finished_at: Timestamp | null;
}

export interface VolumeAttachmentsTable {
  id: string;
  volume_id: string;
  instance_uuid: string | null;
  host_name: string | null;
  mountpoint: string | null;
  mode: Generated<'rw' | 'ro'>;
  status: Generated<'reserved' | 'attaching' | 'attached'>;
  connection_info: DefaultedJsonColumn<JsonMap>;
  project_id: string;
  created_at: DefaultedTimestamp;
  attached_at: ColumnType<Timestamp | null, Timestamp | null | undefined, Timestamp | null>;
}

export interface VolumeExportsTable {
  volume_id: string;
  export_id: string;
  socket_path: string;
  monitor_path: string;
  process_id: number;
  read_only: Generated<boolean>;
  created_at: DefaultedTimestamp;
}

export interface SnapshotsTable {
  id: string;
  project_id: string;
  user_id: string;
  volume_id: string;
  name: string | null;
  description: string | null;
  status: string;
  progress: Generated<string>;
  size_gib: number;
  metadata: DefaultedJsonColumn<StringMap>;
  point_id: string | null;
  group_snapshot_id: string | null;
  bootable: Generated<boolean>;
  image_metadata: DefaultedJsonColumn<StringMap>;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface VolumeTransfersTable {
  id: string;
  volume_id: string;
  project_id: string;
  name: string | null;
  key_hash: Buffer;
  no_snapshots: Generated<boolean>;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface GroupTypesTable {
  id: string;
  name: string;
  description: string | null;
  is_public: Generated<boolean>;
  group_specs: DefaultedJsonColumn<StringMap>;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface VolumeGroupsTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string | null;
  description: string | null;
  status: string;
  availability_zone: string;
  group_type_id: string;
  group_snapshot_id: string | null;
  source_group_id: string | null;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface VolumeGroupTypesTable {
  group_id: string;
  volume_type_id: string;
}

export interface GroupSnapshotsTable {
  id: string;
  project_id: string;
  user_id: string;
  group_id: string;
  group_type_id: string;
  name: string | null;
  description: string | null;
  status: string;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface ImagesTable {
  id: string;
  owner: string;
  name: string | null;
  status: string;
  visibility: 'public' | 'private' | 'shared' | 'community';
  protected: Generated<boolean>;
  hidden: Generated<boolean>;
  container_format: string | null;
  disk_format: string | null;
  size_bytes: number | null;
  virtual_bytes: number | null;
  checksum: string | null;
  os_hash_algo: string | null;
  os_hash_value: string | null;
  min_disk: Generated<number>;
  min_ram: Generated<number>;
  tags: Generated<string[]>;
  properties: DefaultedJsonColumn<StringMap>;
  point_id: string | null;
  staged: NullableJsonColumn<JsonMap>;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface ImageMembersTable {
  image_id: string;
  member_id: string;
  status: 'pending' | 'accepted' | 'rejected';
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface ImageTasksTable {
  id: string;
  image_id: string;
  owner: string;
  user_id: string;
  request_id: string;
  input: JsonColumn<JsonMap>;
  status: 'pending' | 'processing' | 'success' | 'failure';
  message: Generated<string>;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
  expires_at: Timestamp | null;
}

export interface MetadefNamespacesTable {
  id: GeneratedAlways<number>;
  namespace: string;
  display_name: string | null;
  description: string | null;
  visibility: 'public' | 'private';
  protected: boolean;
  owner: string;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface MetadefItemsTable {
  namespace_id: number;
  kind: 'object' | 'property' | 'tag';
  name: string;
  definition: JsonColumn<JsonMap>;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface MetadefResourceTypesTable {
  name: string;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface MetadefAssociationsTable {
  namespace_id: number;
  resource_type: string;
  properties_target: string | null;
  prefix: string | null;
  created_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

export interface RepositoriesTable {
  id: string;
  name: string;
  store: JsonColumn<JsonMap>;
  key_file: string;
  created_at: DefaultedTimestamp;
}

export interface BackupsTable {
  id: string;
  project_id: string;
  user_id: string;
  volume_id: string;
  snapshot_id: string | null;
  parent_id: string | null;
  name: string | null;
  description: string | null;
  status: string;
  fail_reason: string | null;
  size_gib: number;
  object_count: Generated<number>;
  container: string | null;
  availability_zone: string | null;
  metadata: DefaultedJsonColumn<StringMap>;
  volume_meta: DefaultedJsonColumn<JsonMap>;
  restore_volume_id: string | null;
  restore_volume_ids: Generated<string[]>;
  domain: string | null;
  data_timestamp: Timestamp;
  repository_id: string | null;
  session: string | null;
  root: string | null;
  point_id: string | null;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface FlavorsTable {
  id: string;
  name: string;
  description: string | null;
  vcpus: number;
  ram_mib: number;
  disk_gib: number;
  ephemeral_gib: Generated<number>;
  swap_mib: Generated<number>;
  rxtx_factor: Generated<number>;
  is_public: Generated<boolean>;
  extra_specs: DefaultedJsonColumn<StringMap>;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface FlavorAccessTable {
  flavor_id: string;
  project_id: string;
}

export interface KeypairsTable {
  id: GeneratedAlways<number>;
  user_id: string;
  name: string;
  type: 'ssh' | 'x509';
  public_key: string;
  fingerprint: string;
  created_at: DefaultedTimestamp;
}

export interface ServerGroupsTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string;
  policy: 'affinity' | 'anti-affinity' | 'soft-affinity' | 'soft-anti-affinity';
  rules: DefaultedJsonColumn<JsonMap>;
  created_at: DefaultedTimestamp;
}

export interface ServerGroupMembersTable {
  server_group_id: string;
  server_id: string;
}

export interface HostAggregatesTable {
  id: GeneratedAlways<number>;
  uuid: string;
  name: string;
  availability_zone: string | null;
  hosts: Generated<string[]>;
  metadata: DefaultedJsonColumn<StringMap>;
  created_at: DefaultedTimestamp;
  updated_at: Timestamp | null;
}

export interface Schema {
  domains: DomainsTable;
  projects: ProjectsTable;
  users: UsersTable;
  groups: GroupsTable;
  group_members: GroupMembersTable;
  roles: RolesTable;
  role_implications: RoleImplicationsTable;
  role_assignments: RoleAssignmentsTable;
  application_credentials: ApplicationCredentialsTable;
  access_rules: AccessRulesTable;
  application_credential_rules: ApplicationCredentialRulesTable;
  regions: RegionsTable;
  services: ServicesTable;
  endpoints: EndpointsTable;
  project_endpoints: ProjectEndpointsTable;
  endpoint_groups: EndpointGroupsTable;
  project_endpoint_groups: ProjectEndpointGroupsTable;
  credentials: CredentialsTable;
  policies: PoliciesTable;
  oauth_consumers: OauthConsumersTable;
  registered_limits: RegisteredLimitsTable;
  limits: LimitsTable;
  tokens: TokensTable;
  quota_limits: QuotaLimitsTable;
  sagas: SagasTable;
  events: EventsTable;
  layers: LayersTable;
  points: PointsTable;
  point_holds: PointHoldsTable;
  point_roots: PointRootsTable;
  volume_types: VolumeTypesTable;
  volume_type_access: VolumeTypeAccessTable;
  volume_type_encryption: VolumeTypeEncryptionTable;
  qos_specs: QosSpecsTable;
  default_volume_types: DefaultVolumeTypesTable;
  service_states: ServiceStatesTable;
  messages: MessagesTable;
  volumes: VolumesTable;
  volume_attachments: VolumeAttachmentsTable;
  volume_exports: VolumeExportsTable;
  snapshots: SnapshotsTable;
  volume_transfers: VolumeTransfersTable;
  group_types: GroupTypesTable;
  volume_groups: VolumeGroupsTable;
  volume_group_types: VolumeGroupTypesTable;
  group_snapshots: GroupSnapshotsTable;
  images: ImagesTable;
  image_members: ImageMembersTable;
  image_tasks: ImageTasksTable;
  metadef_namespaces: MetadefNamespacesTable;
  metadef_items: MetadefItemsTable;
  metadef_resource_types: MetadefResourceTypesTable;
  metadef_associations: MetadefAssociationsTable;
  repositories: RepositoriesTable;
  servers: ServersTable;
  server_disks: ServerDisksTable;
  server_actions: ServerActionsTable;
  backups: BackupsTable;
  flavors: FlavorsTable;
  flavor_access: FlavorAccessTable;
  keypairs: KeypairsTable;
  server_groups: ServerGroupsTable;
  server_group_members: ServerGroupMembersTable;
  host_aggregates: HostAggregatesTable;
}
