//! `COALESCE`: the first of several commands that has a value.

use super::command::{Command, Op};
use super::parse::{self, Commands, FormatError, Written};
use serde_json::Value;

/// `{"operators": ["NAME", {"command": "NAME", "param": "…", "max_length": 9}, …]}`.
pub(super) fn compile(argument: &str, commands: &Commands) -> Result<Op, FormatError> {
    let refused = |why: &str| FormatError::Coalesce(why.to_owned());
    let config: Value = serde_json::from_str(argument).map_err(|e| {
        refused(&format!("failed to parse JSON configuration: JSON supplied is not valid. {e}"))
    })?;
    let operators = config
        .get("operators")
        .ok_or_else(|| refused("JSON configuration must contain 'operators' array"))?
        .as_array()
        .ok_or_else(|| refused("'operators' must be an array"))?;
    if operators.is_empty() {
        return Err(refused("'operators' array must not be empty"));
    }
    let at = |(i, entry)| {
        operator(entry, commands).map_err(|e| refused(&format!("failed to parse operator at index {i}: {e}")))
    };
    Ok(Op::Coalesce(operators.iter().enumerate().map(at).collect::<Result<_, _>>()?))
}

fn operator(entry: &Value, commands: &Commands) -> Result<Command, FormatError> {
    let refused = |why: &'static str| FormatError::CoalesceOperator(why);
    let written = match entry {
        Value::String(name) => Written::new(name, None, None),
        Value::Object(members) => {
            let name = members
                .get("command")
                .and_then(Value::as_str)
                .ok_or(refused("operator object must have 'command' field"))?;
            let argument = match members.get("param") {
                None => None,
                Some(param) => Some(param.as_str().ok_or(refused("'param' field must be a string"))?),
            };
            let length = match members.get("max_length") {
                None => None,
                Some(length) if !length.is_i64() && !length.is_u64() => {
                    return Err(refused("'max_length' field must be an integer"));
                }
                Some(length) => Some(
                    length
                        .as_u64()
                        .filter(|n| *n > 0)
                        .and_then(|n| usize::try_from(n).ok())
                        .ok_or(refused("'max_length' must be a positive integer"))?,
                ),
            };
            Written::new(name, argument, length)
        }
        _ => {
            return Err(refused(
                "operator entry must be either a string (command name) or an object with 'command' field",
            ));
        }
    };
    parse::compile(&written, commands)
}
