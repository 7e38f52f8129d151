import { joining } from './joining.ts';
import { NO_ETCD, startEtcd } from './servers.ts';

joining('etcd', () => startEtcd(), NO_ETCD);
