//! `/logging`: the levels of the process's own log.

use super::Admin;
use super::request::{Request, Response};
use crate::log::{self, Level};
use std::fmt::Write;

/// `/logging`: with one parameter changes levels, and prints all.
pub(super) fn logging(admin: &Admin, request: &Request) -> Response {
    match change(admin, &request.query) {
        Ok(()) => Response::text(active(admin)),
        Err(why) => Response::error(400, format!("error: {why}\n\n{USAGE}{}", active(admin))),
    }
}

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)\n\
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
usage: /logging?level=<level> (change all levels)\n\
usage: /logging?group=<group_name>:<level> (change group of loggers)\n\
levels: trace debug info warning error critical off \n";

fn active(admin: &Admin) -> String {
    let mut out = String::from("active loggers:\n");
    for (name, level) in admin.log.iter().flat_map(|l| l.levels()) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name}: {level}");
    }
    out.push('\n');
    out
}

fn change(admin: &Admin, query: &[(String, String)]) -> Result<(), &'static str> {
    let Some(log) = admin.log else { return Ok(()) };
    // The home page's form sends every field, empty ones too.
    let mut given = query.iter().filter(|(_, value)| !value.is_empty());
    let Some((name, value)) = given.next() else { return Ok(()) };
    // A parameter that is given twice counts once.
    if given.any(|(other, _)| other != name) {
        return Err("invalid number of parameters");
    }
    let level = |text: &str| Level::parse_exact(text).ok_or("unknown logger level");
    match name.as_str() {
        "level" => log.set_all(level(value)?),
        "paths" => {
            let mut changes = Vec::new();
            for item in value.split(',').filter(|i| !i.is_empty()) {
                let (name, text) = item
                    .split_once(':')
                    .filter(|(n, l)| !n.is_empty() && !l.is_empty())
                    .ok_or("empty logger name or empty logger level")?;
                changes.push((name, level(text)?));
            }
            for (name, _) in &changes {
                log::component(name).ok_or("unknown logger name")?;
            }
            changes.into_iter().for_each(|(name, level)| log.set(name, level));
        }
        "group" => return Err("group parameter requires fine-grain logging to be enabled"),
        name => {
            let level = level(value)?;
            log.set(log::component(name).ok_or("unknown logger name")?, level);
        }
    }
    Ok(())
}
