//! How long nothing that arrives can finish a set. A caller that sleeps until then wakes up once for the frames of all
//! cameras, instead of once for each.

use framelock_common::time::HostTime;

use super::camera::Camera;
use super::{CameraIndex, Policy, Synchronizer};

impl<T> Synchronizer<T> {
    /// Until when nothing that arrives finishes a set, if the cameras keep their pace, and the camera whose frame is
    /// then waited for. [`Self::poll_timeout`] may be earlier. `None` where any frame may finish a set.
    ///
    /// It is the last of the cameras that have no frame left, for the set waits for each of them. A camera that
    /// breaks its pace and sends earlier has its frame waiting for at most its period.
    #[must_use]
    pub fn quiet_until(&self) -> Option<(HostTime, CameraIndex)> {
        let reference = self.anchoring.reference.and_then(|index| self.position(index))?;
        if self.config.policy != Policy::Tightest || self.finished {
            return None;
        }
        let spacing = self.spacing(reference);
        // Sets do not wait for every frame of a slower camera.
        let every = |camera: &&Camera<T>| {
            camera.is_awaited() && camera.period().is_some_and(|period| period <= spacing + spacing / 8)
        };
        let empty = self.cameras.iter().filter(every).filter(|camera| camera.queue().is_empty());
        let next = |camera: &Camera<T>| {
            let expected = camera.expected(self.config.tolerance_permille)?;
            Some((camera.delay()?.arrival(expected), camera.index))
        };
        empty.filter_map(next).max()
    }
}
