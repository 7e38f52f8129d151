import { NO_ETCD, startEtcd } from '../servers.ts';
import { conformance } from './conformance.ts';

conformance('etcd', () => startEtcd(), NO_ETCD);
