import { existsSync } from 'node:fs';
import { guarded, unguarded } from './suite.ts';

unguarded('bridge');
guarded('bridge', existsSync('/proc/sys/net/bridge') ? [true, false] : undefined);
unguarded('routed');
guarded('routed');
