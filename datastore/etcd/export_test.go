package etcd

import "time"

// AskEvery changes how often watches ask how far they are. Call it before the first.
func (s *Store) AskEvery(d time.Duration) { s.progressEvery = d }
