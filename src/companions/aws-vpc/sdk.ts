/**
 * All of Amazon's SDK that flatnet uses: a file of its own in the bundle, which only nodes load whose network
 * has the backend aws-vpc.
 */
export {
  CreateRouteCommand,
  DeleteRouteCommand,
  DescribeInstancesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeRouteTablesCommand,
  EC2Client,
  ModifyNetworkInterfaceAttributeCommand,
  ReplaceRouteCommand,
} from '@aws-sdk/client-ec2';
