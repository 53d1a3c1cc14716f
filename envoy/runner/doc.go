// Package runner finds an Envoy, starts it, watches it, restarts it when it
// dies, and stops it. It knows nothing of what Envoy is told to do: the caller
// hands it a bootstrap.
//
// # Who lives longer
//
// Two promises pull against each other. A client in the middle of a stream must
// not notice that shunt was killed with -9, since no byte of that stream passes
// through shunt. And nothing that shunt started may linger for ever. The kernel's
// parent-death signal keeps only the second: it ends Envoy, and every stream,
// at once (and it fires when the thread that forked ends, not the process). A
// pid file alone keeps only the first: an orphan serves on until someone starts
// shunt again. So a guard, this same binary under the name shunt-envoy-guard,
// waits on a pipe from shunt. While shunt lives it does nothing. When the pipe
// closes without a goodbye it closes Envoy's listeners, waits until the requests
// in flight are done (at most Options.OrphanTimeout), and ends Envoy. The port is
// free from the first moment of that, so a new shunt starts at once, beside the
// streams that still end. Should the guard have been killed too, the next Runner
// with the same RunDir finds the orphan by its record there and gives it a guard.
//
// A supervisor that ends a whole control group (systemd by default, a container)
// ends Envoy with shunt; where streams must survive that, run Envoy on its own
// beside `shunt serve`.
//
// Every program that uses a Runner calls [GuardMain] first in main, and in
// TestMain.
//
// # No hot restart
//
// Envoy is started with --disable-hot-restart. With --use-dynamic-base-id Envoys
// do not collide either, but each leaves a file in /dev/shm behind, even after a
// clean exit (seen on 1.40.0).
package runner
