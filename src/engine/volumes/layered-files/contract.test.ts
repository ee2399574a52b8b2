import { makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import { createSpaceAccount } from '../../space/space-account.ts';
import { describeVolumeBackend } from '../contract-suite.ts';

describeVolumeBackend('layered-files', ({ keptBytes }) => makeLayeredFiles({ space: createSpaceAccount({ keptBytes }) }));
