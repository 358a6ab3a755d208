"""What the charts of a report show: computed once, drawn by the page and by the figure bundle."""
