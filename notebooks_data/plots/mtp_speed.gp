# SPDX-License-Identifier: Apache-2.0
# Speed with drafting over speed without, against the length of a round: measured in turns
# (median, lowest and highest), predicted from costs and acceptance, and with lengths chosen
# while running: rows of study `speed` in results/mtp.csv (golden/study_mtp.py).
#   gnuplot -e "out='F.svg'" notebooks_data/plots/mtp_speed.gp
if (!exists("out")) out = 'mtp_speed.svg'
if (!exists("table")) table = 'notebooks_data/results/mtp.csv'
set terminal svg size 900,560 font 'sans,14' background rgb 'white' enhanced
set output out
set datafile separator ','
set datafile missing NaN   # rows of others: skipped, so that lines go on
row(c, paced) = strcol(3) eq 'speed' && strcol(6) eq c && strcol(7) eq 'speedup' && \
                (paced || strcol(8) ne '')
set title 'Tokens a second, relative to decoding without a drafter (miniature, two threads)'
set xlabel 'tokens drafted a round'
set ylabel 'speedup'
set yrange [0:2.3]
set xrange [-0.3:8.3]
set xtics 1
set grid ytics lc rgb '#dddddd'
set key bottom right Left reverse samplen 2
stats table using (row('paced', 1) ? $11 : NaN) name 'P' nooutput
stats table using (row('paced', 1) ? $12 : NaN) name 'L' nooutput
stats table using (row('paced', 1) ? $13 : NaN) name 'H' nooutput
set object 1 rect from graph 0, first L_min to graph 1, first H_max fc rgb '#f3ddc0' fs solid 0.6 \
    noborder behind
plot P_min with lines lc rgb '#e08e1b' lw 2 title 'length chosen while running', \
     table using (row('predicted', 0) ? $8 : NaN):11 with linespoints lc rgb '#888888' dt 2 pt 6 \
     lw 1.6 title 'predicted', \
     table using (row('fixed', 0) ? $8 : NaN):11:12:13 with yerrorbars lc rgb '#1b6ca8' pt 7 \
     ps 0.8 lw 1.6 title 'fixed length, measured'
