import { existsSync } from 'node:fs';
import { attackSuite } from './suite.ts';

attackSuite('bridge', existsSync('/proc/sys/net/bridge') ? [true, false] : [undefined]);
attackSuite('routed', [undefined]);
