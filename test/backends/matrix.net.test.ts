import { PHYSICAL_VARIANTS, testMatrix, VARIANTS } from './matrix.ts';

const DEVICE_DAMAGES = [
  'ip link del DEV',
  'ip link set DEV down',
  'ip link set DEV mtu 1300',
  'ip address flush dev DEV',
  'ip neigh flush dev DEV nud permanent',
];
const DAMAGES = ['ip route flush proto 110', 'ip -6 route flush proto 110', 'ip link set eth0 mtu 1500'];

testMatrix({ backend: { Type: 'vxlan' }, variants: VARIANTS, damages: [...DEVICE_DAMAGES, ...DAMAGES] });
/**
 * In dual stack, one device serves both families: what is the same as for vxlan otherwise is tested there.
 */
const DUAL = VARIANTS.filter(({ families }) => families.length > 1);

testMatrix({ backend: { Type: 'vxlan-md' }, variants: DUAL, damages: [...DEVICE_DAMAGES, ...DAMAGES] });
testMatrix({
  backend: { Type: 'host-gw' },
  variants: VARIANTS.filter(({ networks, direct }) => networks === 1 && !direct),
  damages: DAMAGES,
});
testMatrix({
  backend: { Type: 'alloc' },
  variants: PHYSICAL_VARIANTS,
  damages: [...DEVICE_DAMAGES, 'ip route flush proto 111', 'ip -6 route flush proto 111'],
});
