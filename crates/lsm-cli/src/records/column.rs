//! Which columns of a table hold key and value.

use super::Problem;

/// A column as the user names it: by number from 1, or by the name in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Counted from 1, as `cut` does.
    Number(usize),
    /// As the first line calls it.
    Name(String),
}

impl std::str::FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<usize>() {
            Ok(0) => Err("columns are counted from 1".to_owned()),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// Which columns are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// The key's.
    pub(crate) key: Column,
    /// The value's; empty: all others, in their order.
    pub(crate) values: Vec<Column>,
    /// Whether the first line names the columns.
    pub(crate) header: bool,
}

/// [`Columns`] as indices from 0.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    key: usize,
    values: Vec<usize>,
}

impl Columns {
    /// Finds the names in `header`, the fields of the first line.
    pub(crate) fn pick<'a>(&self, header: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Picked, Problem> {
        let find = |column: &Column| match column {
            Column::Number(number) => Ok(number.saturating_sub(1)),
            Column::Name(name) => {
                let mut names = header.clone();
                let found = names.position(|field| field == name.as_bytes());
                found.filter(|_| self.header).ok_or_else(|| Problem::NoSuchName(name.clone()))
            }
        };
        Ok(Picked { key: find(&self.key)?, values: self.values.iter().map(find).collect::<Result<_, _>>()? })
    }
}

impl Picked {
    /// The key's field.
    pub(crate) fn key<'a>(&self, fields: &[&'a [u8]]) -> Result<&'a [u8], Problem> {
        field(fields, self.key)
    }

    /// The value's fields: those asked for, or all but the key's.
    pub(crate) fn values<'a>(&self, fields: &[&'a [u8]], out: &mut Vec<&'a [u8]>) -> Result<(), Problem> {
        if self.values.is_empty() {
            let others = fields.iter().enumerate().filter(|(index, _)| *index != self.key);
            out.extend(others.map(|(_, field)| *field));
            if out.is_empty() {
                return Err(Problem::NoColumn { wanted: 2, found: fields.len() });
            }
            return Ok(());
        }
        for &index in &self.values {
            out.push(field(fields, index)?);
        }
        Ok(())
    }
}

fn field<'a>(fields: &[&'a [u8]], index: usize) -> Result<&'a [u8], Problem> {
    fields.get(index).copied().ok_or(Problem::NoColumn { wanted: index + 1, found: fields.len() })
}
