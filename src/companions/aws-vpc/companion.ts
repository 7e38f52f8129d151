import { cloudCompanion } from '../cloud/companion.ts';
import { openVpc } from './ec2.ts';

/** The companion of backend `aws-vpc`: routes in the VPC's tables. */
export const awsVpcCompanion = cloudCompanion({ name: 'aws-vpc', families: [4, 6], open: openVpc });
