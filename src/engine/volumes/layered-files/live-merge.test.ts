import { makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import { describeLiveMerges } from '../live-merge-contract-suite.ts';

describeLiveMerges('layered-files', makeLayeredFiles);
