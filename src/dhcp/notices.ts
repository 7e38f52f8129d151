import { randomInt } from 'node:crypto';
import { messageOf } from '../error.ts';
import { ipToBytes } from '../ip/address.ts';
import { addressOf } from '../ip/cidr.ts';
import { ETH_P_IP, PacketSocket } from '../linux/packet.ts';
import { UdpSocket } from '../linux/udp.ts';
import type { Log } from '../log.ts';
import type { ClientPlace } from './client.ts';
import type { Lease } from './protocol/lease.ts';
import {
  CLIENT_PORT,
  type ClientMessage,
  clientIdOption,
  encode,
  numberOption,
  OPTION,
  SERVER_PORT,
  TYPE,
} from './protocol/message.ts';
import { EVERYBODY, encodeDatagram, UNSPECIFIED } from './protocol/packet.ts';

/**
 * Gives a lease back, from the node, as the pod may be gone: the server goes by what the message says. One
 * that cannot be given back is named in the log: it ends by itself.
 */
export function release(
  { address, server }: Lease,
  { netns, mac, id }: Pick<ClientPlace, 'netns' | 'mac' | 'id'>,
  log: Log,
): void {
  try {
    using socket = UdpSocket.open(netns);
    const message = encode({
      xid: randomInt(2 ** 32),
      client: addressOf(address),
      mac,
      options: optionsOf(TYPE.release, { id, server }),
    });
    socket.send(message, { ip: server, port: SERVER_PORT });
  } catch (error) {
    log.warn({ lease: address, error: messageOf(error) }, 'cannot give a lease back');
  }
}

/** Tells the server that somebody else uses the address (RFC 2131 §4.4.4). */
export function decline({ address, server }: Lease, { netns, dev, mac, id }: ClientPlace): void {
  using socket = PacketSocket.open({ netns, dev, protocol: ETH_P_IP });
  const payload = encode({
    xid: randomInt(2 ** 32),
    mac,
    options: [
      ...optionsOf(TYPE.decline, { id, server }),
      [OPTION.requestedAddress, ipToBytes(addressOf(address))],
    ],
  });
  socket.send(
    encodeDatagram({ from: UNSPECIFIED, fromPort: CLIENT_PORT, to: EVERYBODY, toPort: SERVER_PORT, payload }),
  );
}

function optionsOf(type: number, { id, server }: Pick<Lease, 'server'> & Pick<ClientPlace, 'id'>) {
  const options: ClientMessage['options'] = [
    [OPTION.type, numberOption(type, 1)],
    [OPTION.clientId, clientIdOption(id)],
    [OPTION.server, ipToBytes(server)],
  ];
  return options;
}
