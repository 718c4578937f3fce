use super::*;

fn names(text: &str) -> Result<Vec<String>, String> {
    let tags = parse(&Source::yaml("tags.yaml", text.as_bytes()))?;
    Ok(tags.iter().map(|tag| tag.name.to_string()).collect())
}

#[test]
fn a_file_may_hold_no_tags_at_all() {
    assert_eq!(names("{}"), Ok(vec![]));
    let two = "ip_tags: [{ip_tag_name: b, ip_list: [{address_prefix: 10.0.0.0, prefix_len: 99}]}, {ip_tag_name: a}]";
    assert_eq!(
        names(two),
        Ok(vec!["b".to_owned(), "a".to_owned()]),
        "a length that is too long is the longest"
    );
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_place() {
    let why = names("ip_tags:\n- {ip_tag_name: a, ip_list: [{address_prefix: nonsense}]}\n").unwrap_err();
    assert!(why.contains("tags.yaml:2"), "{why}");
    assert!(names("other: 1").is_err(), "a field that nobody knows");
    assert!(names(": [").is_err());
}

#[test]
fn the_name_of_a_file_says_how_it_is_written() {
    let why = read(Path::new("/nonexistent/tags.txt")).err().unwrap();
    assert_eq!(why, "Unsupported file format, unable to parse ip tags from file /nonexistent/tags.txt");
    assert!(read(Path::new("/nonexistent/tags.json")).err().unwrap().starts_with("Invalid path: "));
}
