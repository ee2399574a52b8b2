import { makeMemoryVolumes } from '../../../../test/support/memory-volumes.ts';
import { describeLayerInventory } from '../inventory-contract-suite.ts';
import { createMemoryInventory } from './memory-inventory.ts';

describeLayerInventory('memory', async () => {
  const { backend, disks, dispose } = await makeMemoryVolumes();
  // Nothing can happen half-way.
  return { backend, inventory: createMemoryInventory(disks), crashPoints: { trash: [], restore: [], delete: [] }, dispose };
});
