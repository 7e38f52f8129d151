import { FEW_VARIANTS, testMatrix } from './matrix.ts';

/** As few as will do: emulation takes a minute for a combination. */
const DAMAGES = [
  'ip link del DEV',
  'ip link set DEV down',
  'ip route flush proto 110',
  'ip -6 route flush proto 110',
];
const NEIGHBOURS = 'ip neigh flush dev DEV nud permanent';
const [bridged, routed] = FEW_VARIANTS;

testMatrix({ backend: { Type: 'ipip' }, variants: [bridged], damages: DAMAGES });
testMatrix({
  backend: { Type: 'gre', Key: 7 },
  variants: [bridged],
  damages: [...DAMAGES, NEIGHBOURS],
});
testMatrix({ backend: { Type: 'geneve' }, variants: [routed], damages: DAMAGES });
