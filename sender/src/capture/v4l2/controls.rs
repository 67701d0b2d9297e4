//! Camera controls by name.

use std::path::Path;

use framelock_common::config::nearest;
use framelock_v4l2::{Control, ControlKind, Device};

use crate::capture::{CaptureConfig, CaptureError, ControlValue};

/// Sets the controls that `config` names. What turns an automatic on or off goes first: the value
/// that it rules over is read-only or without effect until then.
pub(crate) fn apply(device: &Device, path: &Path, config: &CaptureConfig) -> Result<(), CaptureError> {
    if config.controls.is_empty() {
        return Ok(());
    }
    let error = |control: &str, what: String| CaptureError::Control {
        path: path.to_owned(),
        control: control.to_owned(),
        what,
    };
    let mut wanted: Vec<_> = config.controls.iter().collect();
    wanted.sort_by_key(|(name, _)| !name.contains("auto"));
    let known = device.controls();
    for (name, value) in wanted {
        let control = known
            .iter()
            .find(|control| control.name == **name)
            .ok_or_else(|| error(name, format!("there is none; {}", alternative(name, &known))))?;
        let number = resolve(control, value).map_err(|what| error(name, what))?;
        device
            .set_control(control, number)
            .map_err(|source| error(name, format!("cannot be set to {value}: {source}")))?;
    }
    Ok(())
}

/// The number that `value` stands for, or what would do instead.
fn resolve(control: &Control, value: &ControlValue) -> Result<i64, String> {
    if control.read_only {
        return Err("can only be read".to_owned());
    }
    let wrong = |possible: String| Err(format!("does not take {value}; {possible}"));
    match (control.kind, value) {
        (ControlKind::Other(_), _) => Err("is of a kind that cannot be set from a configuration".to_owned()),
        (ControlKind::Button, ControlValue::Bool(true)) => Ok(1),
        (ControlKind::Button, _) => wrong("it is a button: true presses it".to_owned()),
        (ControlKind::Boolean, ControlValue::Bool(on)) => Ok(i64::from(*on)),
        (ControlKind::Boolean, ControlValue::Integer(number @ 0..=1)) => Ok(*number),
        (ControlKind::Boolean, _) => wrong("it is true or false".to_owned()),
        (ControlKind::Menu | ControlKind::IntegerMenu, value) => {
            let is_it = |entry: &&(i64, String)| match value {
                ControlValue::Integer(number) => entry.0 == *number,
                ControlValue::Name(name) => entry.1.eq_ignore_ascii_case(name),
                ControlValue::Bool(_) => false,
            };
            match control.menu.iter().find(is_it) {
                Some((number, _)) => Ok(*number),
                None => wrong(format!("it has {}", entries(control))),
            }
        }
        (
            ControlKind::Integer | ControlKind::Integer64 | ControlKind::Bitmask,
            ControlValue::Integer(number),
        ) if (control.minimum..=control.maximum).contains(number) || control.kind == ControlKind::Bitmask => {
            Ok(*number)
        }
        (ControlKind::Integer | ControlKind::Integer64 | ControlKind::Bitmask, _) => {
            wrong(format!("it is a number from {} to {}", control.minimum, control.maximum))
        }
    }
}

fn entries(control: &Control) -> String {
    let entries: Vec<_> = control.menu.iter().map(|(number, name)| format!("{number} \"{name}\"")).collect();
    entries.join(", ")
}

/// What to do about a name that no control has.
fn alternative(name: &str, known: &[Control]) -> String {
    let names: Vec<_> = known.iter().map(|control| control.name.clone()).collect();
    match nearest(name, &names) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => "\"framelock-sender devices\" lists them".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: ControlKind) -> Control {
        Control {
            id: 1,
            label: "Power Line Frequency".into(),
            name: "power_line_frequency".into(),
            kind,
            minimum: -10,
            maximum: 10,
            step: 1,
            default: 0,
            value: None,
            menu: vec![(0, "Disabled".into()), (1, "50 Hz".into())],
            read_only: false,
            inactive: false,
        }
    }

    fn name(text: &str) -> ControlValue {
        ControlValue::Name(text.into())
    }

    #[test]
    fn values_become_numbers() {
        for (kind, value, number) in [
            (ControlKind::Integer, ControlValue::Integer(-10), -10),
            (ControlKind::Boolean, ControlValue::Bool(true), 1),
            (ControlKind::Boolean, ControlValue::Integer(0), 0),
            (ControlKind::Menu, name("50 hz"), 1),
            (ControlKind::Menu, ControlValue::Integer(1), 1),
            (ControlKind::Button, ControlValue::Bool(true), 1),
            (ControlKind::Bitmask, ControlValue::Integer(0xff), 0xff),
        ] {
            assert_eq!(resolve(&control(kind), &value), Ok(number), "{kind:?}");
        }
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_one() {
        let known =
            [control(ControlKind::Menu), Control { name: "gain".into(), ..control(ControlKind::Integer) }];
        assert_eq!(alternative("power_line_freqency", &known), "did you mean \"power_line_frequency\"?");
        assert_eq!(alternative("Gain", &known), "did you mean \"gain\"?");
        assert_eq!(alternative("zoom", &known), "\"framelock-sender devices\" lists them");
        assert!(alternative("zoom", &[]).contains("devices"));
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        for (kind, value, hint) in [
            (ControlKind::Integer, ControlValue::Integer(11), "from -10 to 10"),
            (ControlKind::Integer, name("bright"), "from -10 to 10"),
            (ControlKind::Boolean, ControlValue::Integer(2), "true or false"),
            (ControlKind::Menu, name("60 Hz"), "0 \"Disabled\", 1 \"50 Hz\""),
            (ControlKind::Button, ControlValue::Integer(1), "a button"),
            (ControlKind::Other(270), ControlValue::Integer(1), "cannot be set"),
        ] {
            let what = resolve(&control(kind), &value).unwrap_err();
            assert!(what.contains(hint), "{what}");
        }
        let read_only = Control { read_only: true, ..control(ControlKind::Integer) };
        assert!(resolve(&read_only, &ControlValue::Integer(1)).is_err());
    }
}
