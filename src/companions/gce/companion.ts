import { cloudCompanion } from '../cloud/companion.ts';
import { openNetwork } from './network.ts';

/** The companion of backend `gce`: routes in the instance's VPC network. */
export const gceCompanion = cloudCompanion({ name: 'gce', families: [4], open: openNetwork });
