/** The configuration of Tempest: what this service has, stated as flags, so that what it does not have is skipped with Tempest's own reasons. */

export interface Subject {
  /** With `/v3`. */
  readonly identityUrl: string;
  readonly region: string;
  readonly admin: { readonly username: string; readonly password: string; readonly projectName: string };
  readonly imageIds: readonly [string, string];
  readonly flavorIds: readonly [string, string];
}

type Options = Readonly<Record<string, string | number | boolean>>;

export function configurationOf(subject: Subject, folder: string): string {
  const sections: Readonly<Record<string, Options>> = {
    DEFAULT: { log_file: `${folder}/tempest.log`, debug: false },
    oslo_concurrency: { lock_path: `${folder}/locks` },
    auth: {
      use_dynamic_credentials: true,
      admin_username: subject.admin.username,
      admin_password: subject.admin.password,
      admin_project_name: subject.admin.projectName,
      admin_domain_name: 'Default',
      create_isolated_networks: false,
    },
    identity: {
      uri_v3: subject.identityUrl,
      auth_version: 'v3',
      region: subject.region,
      v3_endpoint_type: 'public',
      catalog_type: 'identity',
    },
    'identity-feature-enabled': {
      api_v3: true,
      api_v2: false,
      api_v2_admin: false,
      trust: false,
      application_credentials: true,
      project_tags: true,
      security_compliance: false,
      access_rules: true,
      domain_specific_drivers: false,
      external_idp: false,
    },
    service_available: { cinder: true, glance: true, nova: true, neutron: false, swift: false, horizon: false },
    validation: { run_validation: false },
    volume: {
      catalog_type: 'volumev3',
      region: subject.region,
      min_microversion: '3.0',
      max_microversion: '3.70',
      volume_size: 1,
      volume_size_extend: 1,
      disk_format: 'raw',
      storage_protocol: 'NBD',
      vendor_name: 'Stillpoint',
      build_timeout: 120,
      build_interval: 1,
    },
    'volume-feature-enabled': {
      backup: true,
      snapshot: true,
      clone: true,
      volume_revert: true,
      consistency_group: false,
      multi_backend: false,
      manage_snapshot: false,
      manage_volume: false,
      extend_attached_volume: false,
      extend_attached_encrypted_volume: false,
      api_extensions: 'all',
      volume_locked_update: false,
    },
    image: {
      region: subject.region,
      container_formats: 'bare,ami,ari,aki,ovf,ova,docker,compressed',
      // Tempest uploads random bytes under the first of them; what is opened as a disk is refused unless it is one.
      disk_formats: 'raw,ami,ari,aki,ploop',
      build_timeout: 60,
      image_caching_enabled: false,
    },
    'image-feature-enabled': { api_v2: true, api_v1: false, import_image: true, manage_locations: false, os_glance_reserved: true },
    compute: {
      region: subject.region,
      image_ref: subject.imageIds[0],
      image_ref_alt: subject.imageIds[1],
      flavor_ref: subject.flavorIds[0],
      flavor_ref_alt: subject.flavorIds[1],
      min_microversion: '2.1',
      max_microversion: '2.93',
      // Guests are emulated, two at a time.
      build_timeout: 120,
      build_interval: 1,
      ready_wait: 0,
      fixed_network_name: '',
      min_compute_nodes: 1,
      hypervisor_type: 'QEMU',
    },
    'compute-feature-enabled': {
      disk_config: true,
      change_password: false,
      console_output: true,
      resize: false,
      pause: true,
      shelve: false,
      shelve_migrate: false,
      suspend: false,
      cold_migration: false,
      live_migration: false,
      live_migrate_back_and_forth: false,
      metadata_service: false,
      vnc_console: false,
      spice_console: false,
      rdp_console: false,
      serial_console: false,
      rescue: false,
      stable_rescue: false,
      enable_instance_password: false,
      interface_attach: false,
      snapshot: true,
      nova_cert: false,
      personality: false,
      attach_encrypted_volume: false,
      // The tests of it read it through SSH.
      config_drive: false,
      scheduler_enabled_filters: '',
      swap_volume: false,
      volume_backed_live_migration: false,
      volume_multiattach: false,
      ide_bus: false,
      unified_limits: false,
      xenapi_apis: false,
    },
    'network-feature-enabled': { floating_ips: false },
  };
  return Object.entries(sections)
    .map(
      ([name, options]) =>
        `[${name}]\n${Object.entries(options)
          .map(([key, value]) => `${key} = ${value}\n`)
          .join('')}`,
    )
    .join('\n');
}
