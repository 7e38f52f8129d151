import { attributesOf, type DumpRequest, Writer } from './netlink/message.ts';

const RTM_GETNSID = 90;
const RTGENMSG_SIZE = 4;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;

/**
 * Asks by which number the socket's namespace knows another one, like `ip netns list-id`: a link whose other
 * end is there has it as `netnsId`. -1: by none. `netns`: a descriptor.
 */
export function netnsPeerId(netns: number): DumpRequest<number> {
  const payload = new Writer()
    .header(RTGENMSG_SIZE, () => {})
    .u32(NETNSA_FD, netns)
    .finish();
  return {
    operation: 'netns id',
    object: `descriptor ${netns}`,
    type: RTM_GETNSID,
    flags: 0,
    payload,
    decode: (message) => attributesOf(message.payload, RTGENMSG_SIZE).get(NETNSA_NSID)?.readInt32LE(),
  };
}
