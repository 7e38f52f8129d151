import { NO_ETCD, startEtcd } from '../servers.ts';
import { joining } from './joining.ts';

joining('etcd', () => startEtcd(), NO_ETCD);
