//! The running aggregator.

use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framelock_aggregator as core;
use framelock_aggregator::ntp::NtpService;

use crate::{
    Failure, FramelockConfig, FramelockError, FramelockResult, FramelockStatus, FramelockSubscribeOptions,
    FramelockSubscription, args, quietly, run,
};

/// A running aggregator: it receives on threads of its own from its start on, until it is closed.
#[derive(Debug)]
pub struct FramelockAggregator {
    core: Mutex<Option<core::Aggregator>>,
    ntp: Option<Arc<CStr>>,
}

impl FramelockAggregator {
    fn start(config: &FramelockConfig) -> Result<Self, Failure> {
        // Who sets this up may go on with the config at once.
        let settings = config.lock().clone();
        let core = core::Aggregator::start(&settings)?;
        let ntp = core.ntp().map(NtpService::address).map(|address| args::owned(&address.to_string()));
        Ok(Self { core: Mutex::new(Some(core)), ntp })
    }

    fn lock(&self) -> MutexGuard<'_, Option<core::Aggregator>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the aggregator, if it is not closed.
    fn with<T>(&self, body: impl FnOnce(&core::Aggregator) -> Result<T, Failure>) -> Result<T, Failure> {
        let closed = || Failure::new(FramelockResult::Closed, "the aggregator is closed");
        body(self.lock().as_ref().ok_or_else(closed)?)
    }

    fn close(&self) {
        // Not within the lock: this waits for threads.
        let core = self.lock().take();
        drop(core);
    }
}

/// Starts an aggregator with the settings that `config` has now, and gives it in `*aggregator`: the caller's, to be
/// freed with framelock_aggregator_free(). There may be no camera yet: see framelock_aggregator_add_camera().
///
/// Fails with #FRAMELOCK_RESULT_CONFIG when a name or a port is another camera's, and with #FRAMELOCK_RESULT_START when
/// the system does not give what is needed, such as a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_start(
    config: *const FramelockConfig,
    aggregator: *mut *mut FramelockAggregator,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::pointer(aggregator, "aggregator")?;
            *to = args::hand_over(FramelockAggregator::start(args::object(config, "config")?)?);
            Ok(())
        })
    }
}

/// Stops receiving, frees the ports, and ends all subscriptions: whoever waits for their packets gets
/// #FRAMELOCK_RESULT_CLOSED, as does every later call. Packets that were taken remain. Waits for the aggregator's
/// threads. May be called while other threads use the aggregator, and more than once; nothing happens for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_close(aggregator: *mut FramelockAggregator) {
    quietly(|| {
        // SAFETY: the argument is as the preface of the header wants it.
        if let Ok(aggregator) = unsafe { args::object(aggregator, "aggregator") } {
            aggregator.close();
        }
    });
}

/// Closes and frees an aggregator; nothing happens for NULL. Its subscriptions are not freed with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_free(aggregator: *mut FramelockAggregator) {
    // SAFETY: the preface of the header: an aggregator of ours, which nobody uses any more.
    unsafe { args::take_back(aggregator) }
}

/// Adds a camera while packets go on: as framelock_config_add_camera(). From now on it is in every packet, after
/// those that there are.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG when the name or the source cannot be or is another camera's, and with
/// #FRAMELOCK_RESULT_START when its port cannot be had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_add_camera(
    aggregator: *mut FramelockAggregator,
    name: *const c_char,
    source: *const c_char,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let aggregator = args::object(aggregator, "aggregator")?;
            let (name, source) = (args::text(name, "name")?, args::text(source, "source")?);
            aggregator.with(|core| Ok(core.add_camera(name, source)?))
        })
    }
}

/// Removes a camera while packets go on, and frees its port or ends its connection. From now on it is in no packet.
/// "*" removes every "*" source with the cameras that came to it; one of these by its own name is removed once its
/// sender is silent, and comes again with it.
///
/// Fails with #FRAMELOCK_RESULT_CONFIG when there is none of that name, or it would come again at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_remove_camera(
    aggregator: *mut FramelockAggregator,
    name: *const c_char,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let aggregator = args::object(aggregator, "aggregator")?;
            let name = args::text(name, "name")?;
            aggregator.with(|core| Ok(core.remove_camera(name)?))
        })
    }
}

/// A new consumer, which gets the packets from now on, at its own pace and with its own choice of pixels, in
/// `*subscription`: the caller's, to be freed with framelock_subscription_free(). There may be several; none holds
/// up another. NULL `options` are those that are all zero: the newest packet, without pixels.
///
/// Fails with #FRAMELOCK_RESULT_ARGUMENT for options that cannot be, with #FRAMELOCK_RESULT_START when this build has
/// no decoder for what is wanted, and with #FRAMELOCK_RESULT_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_subscribe(
    aggregator: *mut FramelockAggregator,
    options: *const FramelockSubscribeOptions,
    subscription: *mut *mut FramelockSubscription,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::pointer(subscription, "subscription")?;
            let aggregator = args::object(aggregator, "aggregator")?;
            let zero = FramelockSubscribeOptions::default();
            let options = if options.is_null() { &zero } else { args::object(options, "options")? };
            let wants = options.read()?;
            *to = args::hand_over(aggregator.with(|core| FramelockSubscription::new(core, wants))?);
            Ok(())
        })
    }
}

/// What is known of every camera now, in `*status`: the caller's, to be freed with framelock_status_free(). The
/// aggregator renews it four times a second.
///
/// Fails with #FRAMELOCK_RESULT_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_status(
    aggregator: *mut FramelockAggregator,
    status: *mut *mut FramelockStatus,
    error: *mut FramelockError,
) -> FramelockResult {
    // SAFETY: the arguments are as the preface of the header wants them.
    unsafe {
        run(error, || {
            let to = args::pointer(status, "status")?;
            let aggregator = args::object(aggregator, "aggregator")?;
            let cameras = aggregator.with(|core| Ok(core.status()))?;
            *to = args::hand_over(FramelockStatus::new(&cameras));
            Ok(())
        })
    }
}

/// Where the NTP service listens, address and port, such as "127.0.0.1:11123"; NULL where there is none. It lives
/// until the aggregator is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_aggregator_ntp_address(
    aggregator: *const FramelockAggregator,
) -> *const c_char {
    // SAFETY: the argument is as the preface of the header wants it.
    let aggregator = unsafe { args::object(aggregator, "aggregator") };
    aggregator.ok().and_then(|aggregator| aggregator.ntp.as_ref()).map_or(null(), |ntp| ntp.as_ptr())
}
